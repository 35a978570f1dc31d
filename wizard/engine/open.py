"""Opens what answers name: provider, DNS provider, object storage, credentials.

The one place where names in answers become objects; everything is imported on use.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wizard.answers.fields import ORIGIN
from wizard.answers.model import Answers
from wizard.answers.sections import DNS_OF, CredentialSource, Dns
from wizard.answers.sections import ObjectStorage as StorageSection
from wizard.dns import registry as dns_registry
from wizard.dns.base import DnsProvider, Wanted
from wizard.dns.exchange import Address
from wizard.dns.hosted import marker_of
from wizard.engine import whereabouts
from wizard.errors import HomeError, NotSupportedError, UsageError
from wizard.home.home import Home
from wizard.home.store import SecretStore
from wizard.providers import registry as provider_registry
from wizard.providers.base import (
    Account,
    AcmeAuthority,
    DnsServer,
    Door,
    ObjectStorage,
    Provider,
    Services,
)
from wizard.secrets import Secret

LAB_VARIABLE = "BUILD_USB_LAB"
"""Names the lab's folder when it is not the build home's own (a second build machine)."""

URL_VARIABLE = "BUILD_USB_{}_URL"
"""Names another address of a vendor's API (DIGITALOCEAN, CLOUDFLARE, ROUTE53) or of its object
storage (DIGITALOCEAN_STORAGE): for tests, and for gateways between this computer and the vendor."""

RESOLVER_VARIABLE = "BUILD_USB_RESOLVER"
"""Names the resolver (ADDRESS:PORT) to ask who serves a zone, in place of this computer's."""

MAIL_PASSWORD = "notifications.smtp.password"  # noqa: S105
"""The answer that says where the password of the mail account comes from."""

STORAGE_KEY = "storage_key"
"""The deployment's secret that opens its buckets alone, where the cloud makes such keys."""

SECOND = "backups.second_storage"
"""Where answers name the second storage of backups."""

_NO_SERVICES = Services()
_OBJECT_STORAGE = {
    "aws": "https://s3.{region}.amazonaws.com",
    "digitalocean": "https://{region}.digitaloceanspaces.com",
}
_AUTHORITIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def other_apis() -> dict[str, str]:
    """Return the variables that name another address of a vendor's API."""
    before, _, after = URL_VARIABLE.partition("{}")
    return {k: v for k, v in os.environ.items() if k.startswith(before) and k.endswith(after)}


def lab_folder(home: Path) -> Path:
    """Return the folder of the lab that this build home rehearses in."""
    named = os.environ.get(LAB_VARIABLE)
    return Path(named) if named else home / "lab"


def provider(
    name: str, home: Home, account: Account | None = None, door: Door | None = None
) -> Provider:
    """Return the provider of that name; creates and starts nothing. Clouds need an account,
    machines of a rehearsal a door."""
    if account is not None:
        account = replace(account, cache=home.path / "cache")
    return provider_registry.create(name, lab_dir=lab_folder(home.path), account=account, door=door)


def account(answers: Answers, credentials: SecretStore | None) -> Account | None:
    """Return what the answers' cloud has to know of us; None where they name no credentials (a
    rehearsal needs none). `credentials` are the home's, None: it is locked."""
    own, database = answers.provider, answers.database
    found = account_of(
        own.name,
        own.credentials,
        own.region,
        credentials,
        build_machine=whereabouts.of(answers),
    )
    if found is None:
        return None
    engine = database.engine if database.managed else ""
    by_role = (
        answers.mode == "production"
        and answers.dns.provider == DNS_OF.get(own.name)
        and answers.dns.credentials is None
        and answers.scaling.credentials.dns is None
    )
    hosts = (answers.domain.name, *answers.domain.aliases) if by_role else ()
    names = tuple(name for host in hosts for name in (host, marker_of(host)))
    return replace(
        found,
        database=engine,
        reserved=own.reserved_address,
        spot=answers.machines.spot,
        names=names,
        health_checked=by_role and answers.dns.health_checked,
    )


def account_of(
    cloud: str,
    source: CredentialSource | None,
    region: str,
    credentials: SecretStore | None,
    *,
    build_machine: Callable[[], str] | None = None,
    timeout: float | None = None,
) -> Account | None:
    """Return what a cloud has to know of us, as far as it is decided; see `account`."""
    if source is None:
        return None
    return Account(
        token=_token(source, credentials, "provider.credentials"),
        region=region,
        build_machine=build_machine,
        url=_url(cloud),
        timeout=timeout,
    )


def credential(source: CredentialSource, credentials: SecretStore | None, where: str) -> Secret:
    """Return the secret that answers point at; `credentials` None: the build home is locked."""
    if source.environment:
        value = os.environ.get(source.environment)
        if not value:
            raise UsageError(
                f"the environment variable {source.environment} is not set",
                where=where,
                cure=f"export {source.environment}=… before running, or name another source",
            )
        return Secret(value)
    if source.file:
        path = Path(source.file).expanduser()
        try:
            return Secret(path.read_text().strip())
        except OSError as error:
            raise HomeError(
                f"cannot read the credential file {path}",
                where=where,
                why=error.strerror or str(error),
                cure="create it with mode 0600, or name another source in the answers",
            ) from error
    assert source.home is not None
    if credentials is None:
        raise UsageError(
            f"the secret {source.home} is in the build home, which is not unlocked for this",
            where=where,
            cure="name {environment: VARIABLE} or {file: /path} in the answers instead",
        )
    found = credentials.get(source.home)
    if found is None:
        raise UsageError(
            f"the build home holds no secret called {source.home}",
            where=where,
            cure=f"put it there: build-usb secret set {source.home}",
        )
    return found


def _token(source: CredentialSource, credentials: SecretStore | None, where: str) -> Secret:
    found = credential(source, credentials, where)
    value = found.reveal()
    # it goes into a header: what cannot be sent would be shown by the error that says so
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise UsageError(
            "the API token holds blanks or characters that no token has",
            where=where,
            cure="give the token alone, on one line",
        )
    return found


def _url(name: str) -> str:
    """Return where the API of a vendor is, empty for the vendor's own address."""
    return os.environ.get(URL_VARIABLE.format(name.upper()), "")


def resolver() -> Address | None:
    """Return the resolver to ask who serves a zone, None for this computer's own."""
    named = os.environ.get(RESOLVER_VARIABLE)
    if not named:
        return None
    address, _, port = named.rpartition(":")
    if not (address and port.isdecimal()):
        raise UsageError(f"{RESOLVER_VARIABLE} names no resolver", cure="write it as ADDRESS:PORT")
    return address.strip("[]"), int(port)


def dns(answers: Answers, services: Services, credentials: SecretStore | None) -> DnsProvider:
    """Return the DNS provider that serves the answers' zone. Its credentials may be the cloud's,
    where both are the same vendor's."""
    cloud = answers.provider
    return dns_of(answers.dns, cloud.name, cloud.credentials, credentials, services=services)


def wanted_of_proxies(answers: Answers) -> Wanted:
    """Return what the answers want of the proxies in front of the site."""
    return Wanted(origin=answers.tls.authority == ORIGIN, access=answers.gateway.enabled)


def dns_of(
    chosen: Dns,
    cloud: str,
    cloud_source: CredentialSource | None,
    credentials: SecretStore | None,
    *,
    services: Services = _NO_SERVICES,
    timeout: float | None = None,
) -> DnsProvider:
    """Return the DNS provider of this section of answers; see `dns`. `timeout` in seconds, None:
    the provider's own."""
    server = services.dns
    if chosen.rfc2136 is not None:
        server = DnsServer(
            address=chosen.rfc2136.server,
            port=chosen.rfc2136.port,
            key_name=chosen.rfc2136.key_name,
            algorithm=chosen.rfc2136.algorithm,
            key=credential(chosen.rfc2136.key, credentials, "dns.rfc2136.key"),
        )
    source, where = chosen.credentials, "dns.credentials"
    if source is None and chosen.provider in (cloud, DNS_OF.get(cloud)):
        source, where = cloud_source, "provider.credentials"
    return dns_registry.open_dns(
        chosen.provider,
        chosen.zone,
        server,
        in_lab=chosen.rfc2136 is None,
        token=_token(source, credentials, where) if source else None,
        url=_url(chosen.provider),
        timeout=timeout,
    )


def storage(answers: Answers, services: Services, credentials: SecretStore | None) -> ObjectStorage:
    """Return the object storage that holds the deployment's bucket: the provider's own, or one
    that speaks S3 with credentials of the form ACCESS_KEY:SECRET_KEY."""
    own, cloud = answers.object_storage, answers.provider
    given = services.object_storage
    if given is not None and given.build_endpoint and own.endpoint is None:
        return given
    if given is not None and own.endpoint is None and own.credentials is None:
        region = own.region or cloud.region
        endpoint = _storage_endpoint(own.provider or cloud.name, region)
        return replace(given, build_endpoint=endpoint, machine_endpoint=endpoint, region=region)
    return storage_of(own, cloud.name, cloud.region, credentials)


def machines_storage(
    answers: Answers, services: Services, credentials: SecretStore, secrets: SecretStore
) -> ObjectStorage:
    """Return the object storage as machines reach it: with the key of their own buckets alone, once
    there is one among the deployment's `secrets`; see `storage`."""
    own = secrets.get(STORAGE_KEY) if services.storage_keys is not None else None
    found = storage(answers, services, credentials)
    if own is None:
        return found
    access_key, _, secret_key = own.reveal().partition(":")
    return replace(found, access_key=access_key, secret_key=Secret(secret_key))


def second_storage(answers: Answers, credentials: SecretStore | None) -> ObjectStorage | None:
    """Return the object storage where backups are made too; None where the answers name none."""
    named, cloud = answers.backups.second_storage, answers.provider
    if named is None:
        return None
    return storage_of(named, cloud.name, cloud.region, credentials, SECOND)


def storage_of(
    named: StorageSection,
    vendor: str,
    region: str,
    credentials: SecretStore | None,
    where: str = "object_storage",
) -> ObjectStorage:
    """Return the object storage of this section of answers, `where` in them; `vendor` and `region`
    hold where it names none."""
    vendor, region = named.provider or vendor, named.region or region
    endpoint = named.endpoint or _storage_endpoint(vendor, region)
    if not endpoint:
        raise NotSupportedError(
            f"object storage of {vendor} is not available yet",
            where=f"{where}.provider",
            cure=f"use one of: {', '.join(_OBJECT_STORAGE)}",
        )
    if named.credentials is None:
        raise UsageError(
            f"the answers do not say where the keys of {vendor}'s object storage come from",
            where=f"{where}.credentials",
            cure="name a source that holds ACCESS_KEY:SECRET_KEY, such as {environment: SPACES}",
        )
    keys = credential(named.credentials, credentials, f"{where}.credentials")
    access_key, colon, secret_key = keys.reveal().partition(":")
    if not (access_key and colon and secret_key):
        raise UsageError(
            "the keys of the object storage are not of the form ACCESS_KEY:SECRET_KEY",
            where=f"{where}.credentials",
            cure="join the two by a colon",
        )
    return ObjectStorage(endpoint, endpoint, region, access_key, Secret(secret_key), vendor=vendor)


def _storage_endpoint(vendor: str, region: str) -> str:
    return _url(f"{vendor}_storage") or _OBJECT_STORAGE.get(vendor, "").format(region=region)


def authority(answers: Answers, services: Services) -> AcmeAuthority:
    """Return the ACME authority that the certificate comes from."""
    wanted = answers.tls.authority
    if wanted is None:
        return services.acme or AcmeAuthority(_AUTHORITIES["letsencrypt"])
    return AcmeAuthority(_AUTHORITIES.get(wanted, wanted))

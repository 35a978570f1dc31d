"""Opens what answers name: provider, DNS provider, object storage, credentials.

The one place where names in answers become objects; everything is imported on use.
"""

from __future__ import annotations

import os
from pathlib import Path

from wizard.answers.model import Answers
from wizard.answers.sections import CredentialSource
from wizard.dns import registry as dns_registry
from wizard.dns.base import DnsProvider
from wizard.errors import HomeError, NotSupportedError, UsageError
from wizard.home.home import Home
from wizard.home.store import SecretStore
from wizard.providers import registry as provider_registry
from wizard.providers.base import (
    Account,
    AcmeAuthority,
    DnsServer,
    ObjectStorage,
    Provider,
    Services,
)
from wizard.secrets import Secret

LAB_VARIABLE = "BUILD_USB_LAB"
"""Names the lab's folder when it is not the build home's own (a second build machine)."""

URL_VARIABLE = "BUILD_USB_{}_URL"
"""Names another address of a vendor's API (DIGITALOCEAN, CLOUDFLARE) or of its object storage
(DIGITALOCEAN_STORAGE): for tests, and for gateways between this computer and the vendor."""

_OBJECT_STORAGE = {"digitalocean": "https://{region}.digitaloceanspaces.com"}
_AUTHORITIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def lab_folder(home: Path) -> Path:
    """Return the folder of the lab that this build home rehearses in."""
    named = os.environ.get(LAB_VARIABLE)
    return Path(named) if named else home / "lab"


def provider(name: str, home: Home, account: Account | None = None) -> Provider:
    """Return the provider of that name; creates and starts nothing. Clouds need an account."""
    return provider_registry.create(name, lab_dir=lab_folder(home.path), account=account)


def account(answers: Answers, secrets: SecretStore | None) -> Account | None:
    """Return what the answers' cloud has to know of us; None where they name no credentials (a
    rehearsal needs none). `secrets` None: the build home is locked."""
    own = answers.provider
    if own.credentials is None:
        return None
    return Account(
        token=_token(own.credentials, secrets, "provider.credentials"),
        region=own.region,
        build_machine=answers.ssh.build_machine,
        url=_url(own.name),
    )


def credential(source: CredentialSource, secrets: SecretStore | None, where: str) -> Secret:
    """Return the secret that answers point at; `secrets` None: the build home is locked."""
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
    if secrets is None:
        raise UsageError(
            f"the secret {source.home} is in the build home, which is not unlocked for this",
            where=where,
            cure="name {environment: VARIABLE} or {file: /path} in the answers instead",
        )
    found = secrets.get(source.home)
    if found is None:
        raise UsageError(
            f"the build home holds no secret called {source.home}",
            where=where,
            cure="name {environment: VARIABLE} or {file: /path} in the answers instead",
        )
    return found


def _token(source: CredentialSource, secrets: SecretStore | None, where: str) -> Secret:
    found = credential(source, secrets, where)
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


def dns(answers: Answers, services: Services, secrets: SecretStore) -> DnsProvider:
    """Return the DNS provider that serves the answers' zone. Its credentials may be the cloud's,
    where both are the same vendor's."""
    chosen = answers.dns
    server = services.dns
    if chosen.rfc2136 is not None:
        server = DnsServer(
            address=chosen.rfc2136.server,
            port=chosen.rfc2136.port,
            key_name=chosen.rfc2136.key_name,
            algorithm=chosen.rfc2136.algorithm,
            key=credential(chosen.rfc2136.key, secrets, "dns.rfc2136.key"),
        )
    source, where = chosen.credentials, "dns.credentials"
    if source is None and chosen.provider == answers.provider.name:
        source, where = answers.provider.credentials, "provider.credentials"
    return dns_registry.open_dns(
        chosen.provider,
        chosen.zone,
        server,
        in_lab=chosen.rfc2136 is None,
        token=_token(source, secrets, where) if source else None,
        url=_url(chosen.provider),
    )


def storage(answers: Answers, services: Services, secrets: SecretStore | None) -> ObjectStorage:
    """Return the object storage that holds the deployment's bucket: the provider's own, or one
    that speaks S3 with credentials of the form ACCESS_KEY:SECRET_KEY."""
    own = answers.object_storage
    if own.endpoint is None and services.object_storage is not None:
        return services.object_storage
    vendor = own.provider or answers.provider.name
    region = own.region or answers.provider.region
    endpoint = own.endpoint or _url(f"{vendor}_storage")
    if not endpoint and vendor in _OBJECT_STORAGE:
        endpoint = _OBJECT_STORAGE[vendor].format(region=region)
    if not endpoint:
        raise NotSupportedError(
            f"object storage of {vendor} is not available yet",
            where="object_storage.provider",
            cure=f"use one of: {', '.join(_OBJECT_STORAGE)}",
        )
    if own.credentials is None:
        raise UsageError(
            f"the answers do not say where the keys of {vendor}'s object storage come from",
            where="object_storage.credentials",
            cure="name a source that holds ACCESS_KEY:SECRET_KEY, such as {environment: SPACES}",
        )
    access_key, colon, secret_key = (
        credential(own.credentials, secrets, "object_storage.credentials").reveal().partition(":")
    )
    if not (access_key and colon and secret_key):
        raise UsageError(
            "the keys of the object storage are not of the form ACCESS_KEY:SECRET_KEY",
            where="object_storage.credentials",
            cure="join the two by a colon",
        )
    return ObjectStorage(endpoint, endpoint, region, access_key, Secret(secret_key))


def authority(answers: Answers, services: Services) -> AcmeAuthority:
    """Return the ACME authority that the certificate comes from."""
    wanted = answers.tls.authority
    if wanted is None:
        return services.acme or AcmeAuthority(_AUTHORITIES["letsencrypt"])
    return AcmeAuthority(_AUTHORITIES.get(wanted, wanted))

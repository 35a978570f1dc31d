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
from wizard.providers.base import AcmeAuthority, DnsServer, ObjectStorage, Provider, Services
from wizard.secrets import Secret

LAB_VARIABLE = "BUILD_USB_LAB"
"""Names the lab's folder when it is not the build home's own (a second build machine)."""

_AUTHORITIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def lab_folder(home: Path) -> Path:
    """Return the folder of the lab that this build home rehearses in."""
    named = os.environ.get(LAB_VARIABLE)
    return Path(named) if named else home / "lab"


def provider(name: str, home: Home) -> Provider:
    """Return the provider of that name; creates and starts nothing."""
    return provider_registry.create(name, lab_dir=lab_folder(home.path))


def credential(source: CredentialSource, secrets: SecretStore, where: str) -> Secret:
    """Return the secret that answers point at."""
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
    found = secrets.get(source.home)
    if found is None:
        raise UsageError(
            f"the build home holds no secret called {source.home}",
            where=where,
            cure=f"store it: build-usb secret set {source.home}",
        )
    return found


def dns(answers: Answers, services: Services, secrets: SecretStore) -> DnsProvider:
    """Return the DNS provider that serves the answers' zone."""
    server = services.dns
    own = answers.dns.rfc2136
    if own is not None:
        server = DnsServer(
            address=own.server,
            port=own.port,
            key_name=own.key_name,
            algorithm=own.algorithm,
            key=credential(own.key, secrets, "dns.rfc2136.key"),
        )
    return dns_registry.open_dns(answers.dns.provider, answers.dns.zone, server, in_lab=own is None)


def storage(answers: Answers, services: Services) -> ObjectStorage:
    """Return the object storage that holds the deployment's bucket."""
    own = answers.object_storage
    if own.endpoint is None and services.object_storage is not None:
        return services.object_storage
    raise NotSupportedError(
        "object storage of another provider is not available yet",
        where="object_storage",
        cure="leave object_storage out: the provider's own is used",
    )


def authority(answers: Answers, services: Services) -> AcmeAuthority:
    """Return the ACME authority that the certificate comes from."""
    wanted = answers.tls.authority
    if wanted is None:
        return services.acme or AcmeAuthority(_AUTHORITIES["letsencrypt"])
    return AcmeAuthority(_AUTHORITIES.get(wanted, wanted))

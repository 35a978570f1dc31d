"""Names of providers, imported on use: a cloud's SDK is loaded only by who deploys there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from wizard.errors import NotSupportedError, UsageError
from wizard.providers.base import Account, Door, Provider

_MODULES = {
    "local": "wizard.providers.local:LocalProvider",
    "digitalocean": "wizard.providers.digitalocean:DigitalOceanProvider",
    "aws": "wizard.providers.aws:AwsProvider",
}
_PLANNED = ("exoscale", "linode", "vultr", "hetzner")


def names() -> tuple[str, ...]:
    """Return the names of the providers there are."""
    return tuple(_MODULES)


def create(
    name: str, *, lab_dir: Path, account: Account | None = None, door: Door | None = None
) -> Provider:
    """Return the provider of that name, asking no one yet. Clouds need an `account`, UsageError
    without; machines of a rehearsal need a `door`. NotSupportedError if there is no such provider
    (yet)."""
    if name not in _MODULES:
        known = "is known, but this version cannot use it yet" if name in _PLANNED else "is unknown"
        raise NotSupportedError(
            f"the provider {name!r} {known}",
            where="provider.name",
            cure=f"use {' or '.join(names())}",
        )
    if name != "local" and account is None:
        raise UsageError(
            f"the answers do not say where the API token of {name} comes from",
            where="provider.credentials",
            cure="name its source: {environment: VARIABLE}, {file: /path} or {home: name}",
        )
    module, _, attribute = _MODULES[name].partition(":")
    given = (lab_dir, door) if name == "local" else (account,)
    provider: Provider = getattr(import_module(module), attribute)(*given)
    return provider

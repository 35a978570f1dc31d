"""Names of providers, imported on use: a cloud's SDK is loaded only by who deploys there."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from wizard.errors import NotSupportedError
from wizard.providers.base import Provider

_MODULES = {"local": "wizard.providers.local:LocalProvider"}
_PLANNED = ("aws", "digitalocean", "exoscale", "linode", "vultr", "hetzner")


def names() -> tuple[str, ...]:
    """Return the names of the providers that work."""
    return tuple(_MODULES)


def create(name: str, *, lab_dir: Path) -> Provider:
    """Return the provider of that name; NotSupportedError if there is none (yet)."""
    if name not in _MODULES:
        known = "is known, but this version cannot use it yet" if name in _PLANNED else "is unknown"
        raise NotSupportedError(
            f"the provider {name!r} {known}",
            where="provider.name",
            cure=f"use {' or '.join(names())}",
        )
    module, _, attribute = _MODULES[name].partition(":")
    provider: Provider = getattr(import_module(module), attribute)(lab_dir)
    return provider

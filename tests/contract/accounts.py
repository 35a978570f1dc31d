"""Emulated accounts: each sees to it that no request is one that the vendor's document lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.contract.scenario import BUILDER
from tests.emulators import openapi
from tests.emulators.cloudflare import CloudflareEmulator
from tests.emulators.digitalocean import TOKEN, DigitalOceanEmulator
from wizard.dns.cloudflare import Cloudflare
from wizard.providers.base import Account
from wizard.providers.digitalocean import DigitalOceanProvider
from wizard.secrets import Secret

ZONE = "example.org"
CLOUDFLARE_TOKEN = "good-token-of-cloudflare"


@contextmanager
def cloudflare() -> Iterator[CloudflareEmulator]:
    """An account at Cloudflare that holds the zone."""
    with CloudflareEmulator(openapi.document("cloudflare")) as emulator:
        emulator.zone = emulator.add_zone(ZONE)
        yield emulator
        assert emulator.violations == []


def opened_zone(
    api: CloudflareEmulator, zone: str = ZONE, token: str = CLOUDFLARE_TOKEN
) -> Cloudflare:
    """The zone as the product opens it; it never waits long."""
    return Cloudflare(zone, Secret(token), url=api.url, timeout=5, pause=lambda _seconds: None)


@contextmanager
def digitalocean(steps: int = 1) -> Iterator[DigitalOceanEmulator]:
    """An account at DigitalOcean; `steps`: looks until what is made is there."""
    with DigitalOceanEmulator(openapi.document("digitalocean"), steps=steps) as emulator:
        yield emulator
        assert emulator.violations == []


def opened_account(api: DigitalOceanEmulator, **changes: Any) -> DigitalOceanProvider:
    """The account as the product opens it, but for `changes`; it never waits long."""
    account = replace(Account(Secret(TOKEN), "fra1", lambda: BUILDER, api.url), **changes)
    return DigitalOceanProvider(account, pause=lambda _seconds: None)

"""Route 53's health checks of a deployment's addresses.

A check is found again by the reference that it was made with, which tells whose it is and what it
asks: no tag is needed, which a killed run could leave out. Route 53 gives the same check for the
same reference, so a lost answer makes no second one, but refuses that of a deleted check for days:
so they are numbered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from wizard.dns.base import Health
from wizard.errors import ProviderError
from wizard.providers.aws_api import Api

_PREFIX = "build-usb"
_NUMBERS = 100  # references tried; one is used up each time that an address comes back
_INTERVAL = 30  # seconds between questions of each of Route 53's places, about fifteen
_FAILURES = 3  # in a row
_NOBODY = "00000000-0000-0000-0000-000000000000"
_GONE = "NoSuchHealthCheck"


class HealthChecks:
    """The checks of one account, which others share."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def ours(self, zone: str, deployment: str) -> dict[str, str]:
        """Return the ids of a deployment's checks by their references."""
        listed = self._api.pages("route53.list_health_checks", "HealthChecks", "list health checks")
        stem = f"{_whose(zone, deployment)}."
        return {
            str(one["CallerReference"]): str(one["Id"])
            for one in listed
            if str(one["CallerReference"]).startswith(stem)
        }

    def ensure(
        self, zone: str, deployment: str, health: Health, addresses: Iterable[str]
    ) -> dict[str, str]:
        """Return the id of a check for each address, made where there is none."""
        there, found = self.ours(zone, deployment), {}
        for address in addresses:
            stem = f"{_whose(zone, deployment)}.{_digest(address, health.host, health.path)}."
            alike = sorted(reference for reference in there if reference.startswith(stem))
            found[address] = there[alike[0]] if alike else self._make(stem, address, health)
        return found

    def _make(self, stem: str, address: str, health: Health) -> str:
        doing = f"have {address} asked whether it is well"
        settings = {
            "Type": "HTTPS",
            "IPAddress": address,
            "Port": 443,
            "FullyQualifiedDomainName": health.host,
            "EnableSNI": True,
            "ResourcePath": health.path,
            "RequestInterval": _INTERVAL,
            "FailureThreshold": _FAILURES,
        }
        for number in range(1, _NUMBERS + 1):
            try:
                answer = self._api.call(
                    "route53.create_health_check",
                    doing,
                    CallerReference=f"{stem}{number}",
                    HealthCheckConfig=settings,
                )
            except ProviderError as error:
                # of a check that was deleted lately
                if error.code != "HealthCheckAlreadyExists" or number == _NUMBERS:
                    raise
            else:
                made: dict[str, Any] = answer.get("HealthCheck") or {}
                if not made.get("Id"):
                    raise self._api.senseless(doing, "it tells no id of the health check")
                return str(made["Id"])
        raise AssertionError("the last number raises")

    def delete(self, check: str) -> None:
        """Delete a check; what is gone already is no error."""
        self._api.remove(
            "route53.delete_health_check",
            f"delete the health check {check}",
            fine=(_GONE,),
            HealthCheckId=check,
        )

    def try_rights(self) -> None:
        """Raise ProviderError unless checks may be listed and deleted. Changes nothing."""
        self._api.call("route53.list_health_checks", "list health checks", MaxItems="1")
        self.delete(_NOBODY)


def _whose(zone: str, deployment: str) -> str:
    return f"{_PREFIX}.{_digest(zone, deployment)}"


def _digest(*parts: str) -> str:
    # references have 64 characters at most
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]

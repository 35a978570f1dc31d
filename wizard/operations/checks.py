"""Asks the clouds and DNS providers that answers name whether all is ready: whose account it is,
what its token may do, whether the zone is there and the world is told to ask for it there.

Nothing is changed, and nothing ends by an error: what is wrong is a finding, with its cure.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wizard.answers.model import Answers
from wizard.answers.sections import CredentialSource, Dns
from wizard.dns import delegation
from wizard.engine import open as engine_open
from wizard.errors import (
    BuildUsbError,
    InterruptedRunError,
    NotSupportedError,
    TransientError,
)
from wizard.events import Progress
from wizard.home.home import Home
from wizard.home.store import SecretStore
from wizard.providers.base import ProviderFacts

TIMEOUT = 15.0
"""Seconds to wait for one answer."""
DEADLINE = 60.0
"""Seconds that the checks of one provider may take; looked at between two requests."""


class Level(StrEnum):
    """How a check ended; a warning is no reason not to go on."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """What was found out about the answer at `key`."""

    key: str
    level: Level
    what: str
    why: str = ""
    cure: str = ""

    def __str__(self) -> str:
        reason = f" ({self.why})" if self.why else ""
        return f"{self.what}{reason}" + (f"; {self.cure}" if self.cure else "")


@dataclass(frozen=True)
class Checked:
    """All that was found; `facts` when the cloud told its regions and sizes."""

    findings: tuple[Finding, ...] = ()
    facts: ProviderFacts | None = None

    @property
    def good(self) -> bool:
        """Say whether there is nothing to think about."""
        return all(finding.level is Level.GOOD for finding in self.findings)

    @property
    def bad(self) -> bool:
        """Say whether a deployment would fail."""
        return any(finding.level is Level.BAD for finding in self.findings)


def limited(progress: Progress, stop: threading.Event, deadline: float | None = None) -> Progress:
    """Return a progress that ends a check when `stop` is set (InterruptedRunError) or when it
    takes longer than `deadline` seconds (TransientError; default: DEADLINE)."""
    patience = DEADLINE if deadline is None else deadline
    ends = time.monotonic() + patience

    def go_on(what: str, done: float, total: float) -> None:
        if stop.is_set():
            raise InterruptedRunError("the check was stopped")
        if time.monotonic() > ends:
            raise TransientError(
                f"the check takes longer than {patience:.0f} s",
                cure="try again later; the answers can be completed without it",
            )
        progress(what, done, total)

    return go_on


def sources(answers: Answers) -> tuple[CredentialSource | None, ...]:
    """Return where the secrets come from that `check` uses."""
    own_server = answers.dns.rfc2136
    return (
        answers.provider.credentials,
        answers.object_storage.credentials,
        answers.dns.credentials,
        own_server.key if own_server else None,
    )


def check(
    answers: Answers, home: Home, credentials: SecretStore | None, progress: Progress
) -> Checked:
    """Check all that these answers name; `credentials` as for `engine.open`."""
    own = answers.provider
    cloud = check_cloud(own.name, own.credentials, own.region, home, credentials, progress)
    findings = list(cloud.findings)
    if own.name != "local":
        try:
            account = engine_open.account(answers, credentials)
            services = engine_open.provider(own.name, home, account).services(answers.dns.zone)
            engine_open.storage(answers, services, credentials)
        except BuildUsbError as error:
            findings.append(_finding(error, "object_storage.credentials"))
    zone = check_dns(answers.dns, own.name, own.credentials, credentials, progress)
    return Checked((*findings, *zone.findings), cloud.facts)


def check_cloud(
    name: str,
    source: CredentialSource | None,
    region: str,
    home: Home,
    credentials: SecretStore | None,
    progress: Progress,
) -> Checked:
    """Check a cloud's credentials and learn its regions and sizes; `region` empty: none chosen."""
    key = "provider.credentials"
    findings: list[Finding] = []
    try:
        account = engine_open.account_of(name, source, region, credentials, timeout=TIMEOUT)
        provider = engine_open.provider(name, home, account)
        standing = provider.standing(progress)
        policy = f"; this grants all:\n{standing.policy}" if standing.policy else ""
        if standing.lacking:
            findings.append(
                Finding(
                    key,
                    Level.BAD,
                    f"the token lacks rights: {', '.join(standing.lacking)}",
                    f"the account is {standing.owner}" if standing.owner else "",
                    f"add them to the token at {name}, or make a new one that has them{policy}",
                )
            )
        elif source is not None:
            owner = standing.owner or "whose account it is may not be asked"
            text = f"{name}: {owner}; the token has every right that is needed"
            findings.append(Finding(key, Level.GOOD, text))
        if standing.unknowing:
            rights = ", ".join(standing.unknowing)
            what = f"the token lacks rights without which less is known beforehand: {rights}"
            findings.append(Finding(key, Level.WARNING, what, cure=f"add them at {name}{policy}"))
        progress("asking for regions and sizes", 0, 1)
        facts = provider.facts()
    except NotSupportedError:
        return Checked()  # said where it is chosen
    except InterruptedRunError:
        raise
    except BuildUsbError as error:
        # without a right to read, what lacks has been said
        return Checked(tuple(findings) or (_finding(error, key),))
    if region and region not in facts.regions:
        known = ", ".join(facts.regions)
        what = f"{name} has no region {region}"
        cure = f"choose one of: {known}"
        findings.append(Finding("provider.region", Level.BAD, what, cure=cure))
    return Checked(tuple(findings), facts)


def check_dns(
    section: Dns,
    cloud: str,
    cloud_source: CredentialSource | None,
    credentials: SecretStore | None,
    progress: Progress,
) -> Checked:
    """Check that the zone is served for us, and that the world asks for it there."""
    own_server = section.provider == "rfc2136"
    if own_server and section.rfc2136 is None and cloud == "local":
        return Checked()  # the rehearsal's own: not there yet, and nobody else asks it
    key = "dns.rfc2136.server" if own_server else "dns.credentials"
    progress(f"asking {section.provider} for {section.zone}", 0, 2)
    try:
        provider = engine_open.dns_of(section, cloud, cloud_source, credentials, timeout=TIMEOUT)
        zone = provider.zone()
        servers = provider.name_servers()
    except NotSupportedError:
        return Checked()
    except InterruptedRunError:
        raise
    except BuildUsbError as error:
        return Checked((_finding(error, key, section.zone),))
    inside = "" if zone == section.zone else f", which holds {section.zone}"
    text = f"{section.provider} serves {zone}{inside}, and its records may be changed"
    found = Finding("dns.zone", Level.GOOD, text)
    progress(f"asking who serves {zone} for the world", 1, 2)
    return Checked((found, *_delegation(zone, servers)))


def _delegation(zone: str, servers: tuple[str, ...]) -> tuple[Finding, ...]:
    wanted = {delegation.normal(server) for server in servers}
    if not wanted:
        return ()
    try:
        told = set(delegation.delegated_to(zone, engine_open.resolver()))
    except BuildUsbError as error:
        finding = _finding(error, "dns.zone")
        return (Finding(finding.key, Level.WARNING, finding.what, finding.why, finding.cure),)
    cure = f"have the registrar name {', '.join(sorted(wanted))}; it may take a day to be known"
    if told == wanted:
        return (Finding("dns.zone", Level.GOOD, f"the world asks its servers for {zone}"),)
    if not told:
        what, why = f"{zone} is not delegated", "no name server is known for it"
        return (Finding("dns.zone", Level.BAD, what, why, cure),)
    others = ", ".join(sorted(told - wanted)) or "fewer of its servers"
    if told & wanted:
        what, why = f"{zone} is delegated in part only", f"the world asks {others} too"
        if told < wanted:
            why = "the world asks fewer of its servers"
        return (Finding("dns.zone", Level.WARNING, what, why, cure),)
    what, why = f"{zone} is delegated elsewhere", f"the world asks {others}"
    return (Finding("dns.zone", Level.BAD, what, why, cure),)


def _finding(error: BuildUsbError, key: str, zone: str = "") -> Finding:
    """Return an error as a finding: about the answer it names, else about `key`."""
    if error.where.startswith(("provider.", "dns.", "object_storage.")):
        key = error.where
    elif error.where and zone.endswith(error.where):
        key = "dns.zone"
    return Finding(key, Level.BAD, error.what, error.why, error.cure)


def to_plain(checked: Checked) -> dict[str, Any]:
    """Return what was found as plain JSON values."""
    return {"bad": checked.bad, "findings": [vars(finding) for finding in checked.findings]}


def to_text(checked: Checked) -> str:
    """Return what was found for people, a paragraph each."""
    lines: list[str] = []
    for found in checked.findings:
        lines.append(f"{found.level:<8} {found.key}: {found.what}")
        if found.why:
            lines.append(f"         why: {found.why}")
        if found.cure:
            lines.append(f"         what to do: {found.cure}")
    return "\n".join(lines) or "nobody has to be asked: a rehearsal is all on this computer"

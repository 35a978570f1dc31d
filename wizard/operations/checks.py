"""Asks the clouds and DNS providers that answers name whether all is ready: whose account it is,
what its token may do, whether the zone is there and the world is told to ask for it there.

Nothing is changed, and nothing ends by an error: what is wrong is a finding, with its cure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from wizard.agent.outbox import Batch, Note
from wizard.answers.model import Answers
from wizard.answers.sections import CredentialSource, Dns
from wizard.dns import delegation
from wizard.dns.base import NOTHING, DnsProvider, Wanted
from wizard.engine import mailing, scaler_credentials, whereabouts
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
from wizard.operations.session import planned_bucket
from wizard.providers.base import ObjectStorage, ProviderFacts, Standing
from wizard.storage.lasting import expiring, open_to_loss
from wizard.storage.s3 import S3Bucket

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
    own_server, theirs = answers.dns.rfc2136, answers.scaling.credentials
    second = answers.backups.second_storage
    smtp = answers.notifications.smtp
    return (
        answers.provider.credentials,
        answers.object_storage.credentials,
        answers.dns.credentials,
        own_server.key if own_server else None,
        theirs.provider,
        theirs.dns,
        second.credentials if second else None,
        smtp.password if smtp else None,
    )


def check(
    answers: Answers,
    home: Home,
    credentials: SecretStore | None,
    progress: Progress,
    *,
    test_mail: bool = False,
) -> Checked:
    """Check all that these answers name; `credentials` as for `engine.open`. `test_mail`: send a
    mail, instead of only logging in to the mail server."""
    own = answers.provider
    cloud = check_cloud(own.name, own.credentials, own.region, home, credentials, progress, answers)
    findings = list(cloud.findings)
    if own.name != "local":
        try:
            account = engine_open.account(answers, credentials)
            services = engine_open.provider(own.name, home, account).services(answers.dns.zone)
            storage = engine_open.storage(answers, services, credentials)
            bucket = planned_bucket(home, answers.name)
            if answers.backups.periods:
                findings += _lasting(f"{bucket}-backups", storage, "backups.periods")
        except BuildUsbError as error:
            findings.append(_finding(error, "object_storage.credentials"))
        findings += _whereabouts(answers)
        findings += check_second(answers, home, credentials, progress)
    wanted = engine_open.wanted_of_proxies(answers)
    zone = check_dns(answers.dns, own.name, own.credentials, credentials, progress, wanted)
    autoscalers = check_autoscalers(answers, home, credentials, progress)
    mail = _mail(answers, credentials, progress, test_mail=test_mail)
    return Checked((*findings, *zone.findings, *autoscalers, *mail), cloud.facts)


def _whereabouts(answers: Answers) -> tuple[Finding, ...]:
    """Find out what SSH would be let in from, where the answers leave it to us."""
    tell = whereabouts.of(answers)
    if tell is None or answers.ssh.build_machine is not None:
        return ()
    try:
        return (Finding("ssh.build_machine", Level.GOOD, f"this computer is seen at {tell()}"),)
    except BuildUsbError as error:
        return (_finding(error, "ssh.build_machine"),)


def _mail(
    answers: Answers, credentials: SecretStore | None, progress: Progress, *, test_mail: bool
) -> tuple[Finding, ...]:
    account = mailing.account(answers)
    if account is None:
        return ()
    progress(f"logging in to {account.host}", 0, 1)
    now = datetime.now(UTC)
    text = "this is a test mail: what happens to the machines will arrive like it"
    notes = (Note(now.isoformat(timespec="seconds"), "info", text),) if test_mail else ()
    try:
        mailing.deliver(answers, credentials, "check", Batch(f"check.{now:%Y%m%d%H%M%S%f}", notes))
    except BuildUsbError as error:
        return (_finding(error, "notifications.smtp"),)
    done = f"a test mail is on its way to {account.to}" if test_mail else "it lets us log in"
    return (Finding("notifications.smtp", Level.GOOD, f"{account.host}: {done}"),)


def check_second(
    answers: Answers, home: Home, credentials: SecretStore | None, progress: Progress
) -> list[Finding]:
    """Check the second storage of backups: that it is elsewhere, keeps what it is given, and cannot
    be deleted from where that was said."""
    second = answers.backups.second_storage
    if second is None:
        return []
    key = engine_open.SECOND
    progress("asking for the second storage of backups", 0, 1)
    try:
        storage = engine_open.second_storage(answers, credentials)
        assert storage is not None
        name = second.bucket or f"{planned_bucket(home, answers.name)}-second"
        there = S3Bucket(name, storage).exists()
        findings = _lasting(name, storage, key) if there else []
        why = open_to_loss(name, storage) if there and second.append_only else ""
        if why:
            what = f"the backups in {name} are not append-only"
            cure = (
                "let the bucket keep versions, and give its key no right to "
                "s3:DeleteObjectVersion, nor to s3:DeleteObject but for locks/*; or give the "
                "bucket an object lock"
            )
            findings.append(Finding(f"{key}.append_only", Level.BAD, what, why, cure))
    except BuildUsbError as error:
        return [_finding(error, f"{key}.credentials")]
    if second.endpoint is None and second.provider in (None, answers.provider.name):
        what = f"the second storage is at {answers.provider.name} too"
        why = "an account that is locked, or not paid, takes both with it"
        findings.append(Finding(f"{key}.provider", Level.WARNING, what, why, "choose another"))
    state = "is there and answers" if there else "is made by the deployment"
    return findings or [Finding(key, Level.GOOD, f"the second storage of backups: {name} {state}")]


def _lasting(bucket: str, storage: ObjectStorage, key: str) -> list[Finding]:
    """Look for rules of the bucket that would eat into a repository."""
    try:
        harm = expiring(bucket, storage) if S3Bucket(bucket, storage).exists() else []
    except BuildUsbError as error:
        what = f"whether {bucket} keeps what it is given cannot be found out"
        return [Finding(key, Level.WARNING, what, error.why, error.cure)]
    what = f"{bucket} would lose parts of the backups, and all of them with these"
    cure = "delete the rule: backups.keep says how many are kept"
    return [Finding(key, Level.BAD, what, rule, cure) for rule in harm]


def check_cloud(
    name: str,
    source: CredentialSource | None,
    region: str,
    home: Home,
    credentials: SecretStore | None,
    progress: Progress,
    answers: Answers | None = None,
) -> Checked:
    """Check a cloud's credentials and learn its regions and sizes; `region` empty: none chosen.
    With all `answers` their rights are those that all of them ask for."""
    key = "provider.credentials"
    findings: list[Finding] = []
    try:
        account = engine_open.account_of(name, source, region, credentials, timeout=TIMEOUT)
        if answers is not None and account is not None:
            found = engine_open.account(answers, credentials)
            account = found and replace(found, timeout=TIMEOUT)
        provider = engine_open.provider(name, home, account)
        findings += _rights(key, name, provider.standing(progress), known=source is not None)
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


def _rights(key: str, name: str, standing: Standing, *, known: bool) -> Iterator[Finding]:
    """Yield which rights the credentials of the answer at `key` lack, or that they lack none;
    not `known`: there are no credentials."""
    policy = f"; this grants all:\n{standing.policy}" if standing.policy else ""
    if standing.lacking:
        yield Finding(
            key,
            Level.BAD,
            f"the token lacks rights: {', '.join(standing.lacking)}",
            f"the account is {standing.owner}" if standing.owner else "",
            f"add them to the token at {name}, or make a new one that has them{policy}",
        )
    elif known:
        owner = standing.owner or "whose account it is may not be asked"
        text = f"{name}: {owner}; the token has every right that is needed"
        yield Finding(key, Level.GOOD, text)
    if standing.unknowing:
        rights = ", ".join(standing.unknowing)
        what = f"the token lacks rights without which less is known beforehand: {rights}"
        yield Finding(key, Level.WARNING, what, cure=f"add them at {name}{policy}")


def check_dns(
    section: Dns,
    cloud: str,
    cloud_source: CredentialSource | None,
    credentials: SecretStore | None,
    progress: Progress,
    wanted: Wanted = NOTHING,
) -> Checked:
    """Check that the zone is served for us, and that the world asks for it there; where proxies
    stand in front of the site, that they may do what is `wanted` of them."""
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
    found = [Finding("dns.zone", Level.GOOD, text)]
    if section.health_checked:
        found.append(_health_checks(provider))
    if section.proxied:
        found += _proxies(provider, section.provider, wanted)
    progress(f"asking who serves {zone} for the world", 1, 2)
    return Checked((*found, *_delegation(zone, servers)))


def _health_checks(provider: DnsProvider) -> Finding:
    key = "dns.health_checked"
    try:
        provider.check_health_checks()
    except BuildUsbError as error:
        return _finding(error, key)
    return Finding(key, Level.GOOD, f"{provider.name}: health checks may be listed and deleted")


def _proxies(provider: DnsProvider, name: str, wanted: Wanted) -> list[Finding]:
    """Check the settings of a zone for proxies, and the rights that they take."""
    key = "dns.proxied"
    try:
        wrong = provider.edge(wanted).wrong
    except BuildUsbError as error:
        return [_finding(error, key)]
    parts = ["the zone's settings suit proxies"]
    parts += ["certificates of their authority may be ordered"] if wanted.origin else []
    parts += ["their gate may be made"] if wanted.access else []
    good = Finding(key, Level.GOOD, f"{name}: {', '.join(parts)}")
    return [Finding(key, Level.BAD, text) for text in wrong] or [good]


def check_autoscalers(
    answers: Answers, home: Home, credentials: SecretStore | None, progress: Progress
) -> list[Finding]:
    """Check what autoscalers authenticate with: that it is their own, and may do what they need."""
    if answers.mode != "production" or answers.provider.name == "local":
        return []
    cloud = answers.provider.name
    findings: list[Finding] = []
    theirs = scaler_credentials.of_autoscalers(answers)
    try:
        scaler_credentials.refuse_same(answers, credentials)
        if theirs.provider.credentials is not None:
            key = scaler_credentials.PROVIDER
            account = scaler_credentials.account(theirs, credentials)
            account = account and replace(account, timeout=TIMEOUT)
            with scaler_credentials.about(key):
                standing = engine_open.provider(cloud, home, account).standing(progress)
            findings += _rights(key, cloud, standing, known=True)
        if theirs.dns.credentials is not None or theirs.dns.rfc2136 is not None:
            key = scaler_credentials.DNS
            progress(f"asking {theirs.dns.provider} what autoscalers may do", 0, 1)
            with scaler_credentials.about(key):
                zone = engine_open.dns_of(
                    theirs.dns, cloud, theirs.provider.credentials, credentials, timeout=TIMEOUT
                ).zone()
            text = f"{theirs.dns.provider}: autoscalers may change the records of {zone}"
            findings.append(Finding(key, Level.GOOD, text))
    except NotSupportedError:
        return findings  # said where it is chosen
    except InterruptedRunError:
        raise
    except BuildUsbError as error:
        findings.append(_finding(error, scaler_credentials.PROVIDER))
    return findings


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
    sections = ("provider.", "dns.", "object_storage.", "scaling.", "backups.", "notifications.")
    if error.where.startswith(sections):
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

"""Asks the provider, the machines, the DNS servers and the site how a deployment is, side by side.

Nothing is remembered or guessed: every line of a status was asked for now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from wizard.answers.model import Answers
from wizard.dns.base import RecordSet
from wizard.engine import agents, letting_in, verify
from wizard.engine import open as engine_open
from wizard.engine.state import MachineState, State
from wizard.errors import BuildUsbError, LockedError
from wizard.home import keys
from wizard.home.home import DeploymentHome
from wizard.machines.job import Connection
from wizard.operations import scaling
from wizard.operations.scaling import FleetStatus
from wizard.operations.session import Session, read_answers, read_state
from wizard.plan.build import health_path
from wizard.providers.base import Provider
from wizard.rules import Role
from wizard.secrets import Secret

SSH_SECONDS = 10.0


@dataclass(frozen=True)
class MachineStatus:
    """One machine: its state at the provider, what its agent says, and what is wrong."""

    name: str
    role: str
    address: str
    provider_state: str
    agent: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def figure(self, name: str) -> Any:
        """Return one of the facts of its agent (wizard/agent/health.py), None if unknown."""
        return (self.agent.get("health") or {}).get(name)


@dataclass(frozen=True)
class Status:
    """A whole deployment; healthy when `problems` and every machine's problems are empty."""

    deployment: str
    url: str
    site: str
    dns: str
    machines: tuple[MachineStatus, ...]
    problems: tuple[str, ...] = ()
    fleet: FleetStatus | None = None
    files: str = ""

    @property
    def healthy(self) -> bool:
        """Say whether nothing is wrong anywhere."""
        return not self.problems and not any(m.problems for m in self.machines)

    @property
    def backups(self) -> tuple[str, ...]:
        """Return by machine what was kept last, and what was restored last to try it."""
        return tuple(line for machine in self.machines if (line := _kept(machine)))

    @property
    def certificate_days(self) -> int | None:
        """Return for how many days the certificate is still valid on every webserver."""
        found = [m.figure("certificate_days") for m in self.machines]
        return min((days for days in found if days is not None), default=None)


def status(session: Session, deployment: DeploymentHome) -> Status:
    """Return how the deployment is now."""
    read_state(deployment)
    fleet, fleet_problems = _fleet(session, deployment)
    state = read_state(deployment)
    login = keys.key_pair(session.secrets(deployment), "ssh_key").private
    answers = read_answers(deployment)
    account = engine_open.account(answers, session.credentials)
    provider = engine_open.provider(answers.provider.name, session.home, account)
    present = {machine.name: machine for machine in provider.machines(deployment.name)}
    with ThreadPoolExecutor() as pool:
        path = health_path(answers)
        site = pool.submit(_site, state, path)
        dns = pool.submit(_dns, session, answers, provider, state)
        machines = pool.map(
            lambda m: _machine(
                m, state.ssh_port, login, present[m.name].state if m.name in present else "missing"
            ),
            sorted(state.machines.values(), key=lambda m: m.name),
        )
        site_text, site_problems = site.result()
        dns_text, dns_problems = dns.result()
        seen = tuple(machines)
        files_text, files_problems = _files(state, seen, fleet)
        return Status(
            deployment=deployment.name,
            url=state.url,
            site=site_text,
            dns=dns_text,
            machines=seen,
            problems=(
                *site_problems,
                *dns_problems,
                *fleet_problems,
                *files_problems,
                *_moved(provider, state, seen),
            ),
            fleet=fleet,
            files=files_text,
        )


def to_plain(result: Status) -> dict[str, Any]:
    """Return a status as plain JSON values."""
    return {
        "deployment": result.deployment,
        "healthy": result.healthy,
        "url": result.url,
        "site": result.site,
        "dns": result.dns,
        "machines": [{**vars(m), "problems": list(m.problems)} for m in result.machines],
        "problems": list(result.problems),
        "files": result.files,
        "fleet": result.fleet.to_plain() if result.fleet else None,
    }


def to_text(result: Status) -> str:
    """Return a status for people, in at most 80 columns where names allow it."""
    days = result.certificate_days
    lines = [
        f"{result.deployment}: {'healthy' if result.healthy else 'NOT HEALTHY'}",
        *(f"  problem: {problem}" for problem in result.problems),
        f"  site         {result.url or 'never deployed to the end'}  {result.site}".rstrip(),
        f"  certificate  {'unknown' if days is None else f'valid for {days} more days'}",
        f"  DNS          {result.dns}",
        *([f"  plugins      {result.files}"] if result.files else []),
        *(f"  backups      {line}" for line in result.backups),
        "",
    ]
    table = [
        ("machine", "role", "state", "address", "load", "memory", "disk", "up"),
        *(_row(machine) for machine in result.machines),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    head, *rows = (
        "".join(f"  {cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    lines.append(head)
    for row, machine in zip(rows, result.machines, strict=True):
        lines.append(row)
        lines += [f"      problem: {problem}" for problem in machine.problems]
        if machine.figure("reboot_required"):
            lines.append("      wants a reboot")
    if result.fleet:
        lines += ["", *result.fleet.lines()]
    return "\n".join(lines) + "\n"


def _kept(machine: MachineStatus) -> str:
    """Return a machine's newest point and the newest that was tried, empty: it makes none."""
    commands = machine.agent.get("commands") or {}
    newest = {"backup": "", "check": ""}
    latest = dict(newest)
    for name, ran in commands.items():
        kind = name.partition("-")[0]
        if kind in newest and ran.get("ok") and str(ran.get("at")) > latest[kind]:
            newest[kind], latest[kind] = str(ran.get("point")), str(ran.get("at"))
    tried = f"{newest['check']} tried" if newest["check"] else "none tried yet"
    return f"{machine.name}: {newest['backup']} made, {tried}" if newest["backup"] else ""


def _row(machine: MachineStatus) -> tuple[str, ...]:
    """Return the machine's own figures in words; what it could not find out is a dash."""
    load, disk, up = (machine.figure(name) for name in ("load", "disk_used", "uptime"))
    free, memory = machine.figure("memory_available"), machine.figure("memory_total")
    return (
        machine.name,
        machine.role,
        machine.provider_state,
        machine.address,
        f"{load[0]:.2f}" if load else "-",
        f"{1 - free / memory:.0%}" if free and memory else "-",
        f"{disk}%" if disk is not None else "-",
        _length(up) if up is not None else "-",
    )


def _length(seconds: int) -> str:
    """Return a length of time in its largest whole unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _moved(provider: Provider, state: State, machines: Sequence[MachineStatus]) -> Iterator[str]:
    """Say so if a machine does not let this computer in because it has moved."""
    if all(machine.agent for machine in machines):
        return
    here = letting_in.moved_to(provider, state)
    if here:
        yield (
            f"this computer is at {here}, and the machines let in {state.build_machine}: "
            f"build-usb let-in {state.deployment}, or deploy again"
        )


def _machine(machine: MachineState, port: int, login: Secret, present: str) -> MachineStatus:
    agent: dict[str, Any] = {}
    problems: list[str] = []
    if present != "running":
        problems.append(f"the provider says it is {present}")
    else:
        try:
            connection = Connection(machine.access_address, port, login, machine.host_key)
            agent = agents.ask(
                connection, machine.name, "status", seconds=SSH_SECONDS, patience=SSH_SECONDS
            )
            problems += [str(problem) for problem in agent.get("problems", [])]
        except BuildUsbError as error:
            problems.append(f"{error.what}: {error.why}")
    return MachineStatus(
        name=machine.name,
        role=str(machine.role),
        address=machine.private_address,
        provider_state=present,
        agent=agent,
        problems=tuple(problems),
    )


def _site(state: State, path: str) -> tuple[str, list[str]]:
    if not state.url:
        return "", ["the deployment was never finished: run build-usb deploy again"]
    # the machine itself: whether its name leads there is looked at apart
    webservers = [m for m in state.machines.values() if m.role is Role.WEBSERVER]
    address = webservers[0].access_address if webservers else httpx.URL(state.url).host
    try:
        answer = verify.ask(state.hosts[0], address, state.authority_root, path)
    except httpx.HTTPError as error:
        return "does not answer", [f"the site does not answer: {error}"]
    text = f"HTTP {answer.status} in {answer.seconds * 1000:.0f} ms"
    return text, [] if answer.healthy else [f"the site answers with HTTP status {answer.status}"]


def _fleet(session: Session, deployment: DeploymentHome) -> tuple[FleetStatus | None, list[str]]:
    """Return the autoscalers' account; the machines they made are known to the home then."""
    try:
        return scaling.refresh(session, deployment), []
    except LockedError:
        return None, []  # a deploy is at work and knows better
    except BuildUsbError as error:
        return None, [f"autoscalers: {error.what}: {error.why}"]


def _files(
    state: State, machines: Sequence[MachineStatus], fleet: FleetStatus | None
) -> tuple[str, list[str]]:
    """Return which plugins and themes all webservers are to have, and who has others."""
    if not state.files:
        return "", []
    web = [m for m in machines if m.role == Role.WEBSERVER]
    others = [m.name for m in web if m.agent and m.figure("files") != state.files]
    text = f"{state.files_of} ({state.files[:12]}), on {len(web) - len(others)} of {len(web)}"
    if not others or (fleet and fleet.roll and fleet.roll.goes_on):
        return text, []
    cure = f"other plugins or themes than all are to have: build-usb deploy {state.deployment}"
    return text, [f"{', '.join(others)}: {cure}"]


def _dns(
    session: Session, answers: Answers, provider: Provider, state: State
) -> tuple[str, list[str]]:
    try:
        services = provider.services(answers.dns.zone)
        dns = engine_open.dns(answers, services, session.credentials)
        records = dns.records(state.deployment)
        unused = len(dns.unused_checks(state.deployment)) if answers.dns.health_checked else 0
    except BuildUsbError as error:
        return "cannot be asked", [f"DNS: {error.what}: {error.why}"]
    missing = set(state.hosts) - {record.name for record in records}
    problems = [f"DNS: no record of ours for {name}" for name in sorted(missing)]
    return served(records, unused), problems


def served(records: Sequence[RecordSet], unused: int) -> str:
    """Return in words what DNS says, and how many health checks are of no webserver any more."""
    parts = [f"{r.name} -> {', '.join(r.addresses)}" for r in records] or ["no records"]
    if unused:
        # of webservers that autoscalers have replaced: they may delete none
        parts.append(f"health checks of no webserver, paid for until the next deploy: {unused}")
    return "; ".join(parts)

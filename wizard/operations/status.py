"""Asks the provider, the machines, the DNS servers and the site how a deployment is, side by side.

Nothing is remembered or guessed: every line of a status was asked for now.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from wizard.engine import open as engine_open
from wizard.engine import ssh, verify
from wizard.engine.state import MachineState, State
from wizard.errors import BuildUsbError
from wizard.home import keys
from wizard.home.home import DeploymentHome
from wizard.machines.agent_zipapp import AGENT_PATH
from wizard.machines.job import Connection
from wizard.operations.session import Session, read_answers, read_state
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


@dataclass(frozen=True)
class Status:
    """A whole deployment; healthy when `problems` and every machine's problems are empty."""

    deployment: str
    url: str
    site: str
    dns: str
    machines: tuple[MachineStatus, ...]
    problems: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Say whether nothing is wrong anywhere."""
        return not self.problems and not any(m.problems for m in self.machines)


def status(session: Session, deployment: DeploymentHome) -> Status:
    """Return how the deployment is now."""
    state = read_state(deployment)
    login = keys.key_pair(session.secrets(deployment), "ssh_key").private
    provider = _provider(session, deployment)
    present = {machine.name: machine for machine in provider.machines(deployment.name)}
    with ThreadPoolExecutor() as pool:
        site = pool.submit(_site, state)
        dns = pool.submit(_dns, session, deployment, state)
        machines = pool.map(
            lambda m: _machine(
                m, state.ssh_port, login, present[m.name].state if m.name in present else "missing"
            ),
            sorted(state.machines.values(), key=lambda m: m.name),
        )
        site_text, site_problems = site.result()
        dns_text, dns_problems = dns.result()
        return Status(
            deployment=deployment.name,
            url=state.url,
            site=site_text,
            dns=dns_text,
            machines=tuple(machines),
            problems=(*site_problems, *dns_problems),
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
    }


def to_text(result: Status) -> str:
    """Return a status for people."""
    lines = [
        f"{result.deployment}: {'healthy' if result.healthy else 'NOT HEALTHY'}",
        f"  site  {result.url or 'never deployed to the end'}  {result.site}",
        f"  DNS   {result.dns}",
    ]
    for machine in result.machines:
        lines.append(
            f"  {machine.name:<6}{machine.role:<11}{machine.provider_state:<9}"
            f"{machine.address:<16}{_facts(machine.agent)}".rstrip()
        )
        lines += [f"        problem: {problem}" for problem in machine.problems]
    lines += [f"  problem: {problem}" for problem in result.problems]
    return "\n".join(lines) + "\n"


def _facts(agent: dict[str, Any]) -> str:
    """Return the machine's own figures in words; what it could not find out is left out."""
    health = agent.get("health") or {}
    words = []
    if health.get("load"):
        words.append(f"load {health['load'][0]:.2f}")
    if health.get("memory_available") and health.get("memory_total"):
        free = health["memory_available"] / health["memory_total"]
        words.append(f"memory {free:.0%} free")
    if health.get("disk_used") is not None:
        words.append(f"disk {health['disk_used']}% used")
    if health.get("certificate_days") is not None:
        words.append(f"certificate {health['certificate_days']} days")
    if health.get("reboot_required"):
        words.append("wants a reboot")
    return ", ".join(words)


def _machine(machine: MachineState, port: int, login: Secret, present: str) -> MachineStatus:
    agent: dict[str, Any] = {}
    problems: list[str] = []
    if present != "running":
        problems.append(f"the provider says it is {present}")
    else:
        try:
            connection = Connection(machine.access_address, port, login, machine.host_key)
            with ssh.connect(connection, SSH_SECONDS) as client:
                _, output, errors = ssh.run(client, (AGENT_PATH, "status"), seconds=SSH_SECONDS)
            agent = json.loads(output)
            problems += [str(problem) for problem in agent.get("problems", [])]
        except BuildUsbError as error:
            problems.append(f"{error.what}: {error.why}")
        except ValueError:
            problems.append(f"its agent does not answer as it should: {errors.strip()[-200:]}")
    return MachineStatus(
        name=machine.name,
        role=str(machine.role),
        address=machine.private_address,
        provider_state=present,
        agent=agent,
        problems=tuple(problems),
    )


def _site(state: State) -> tuple[str, list[str]]:
    if not state.url:
        return "", ["the deployment was never finished: run build-usb deploy again"]
    # the machine itself: whether its name leads there is looked at apart
    webservers = [m for m in state.machines.values() if m.role is Role.WEBSERVER]
    address = webservers[0].access_address if webservers else httpx.URL(state.url).host
    try:
        answer = verify.ask(state.hosts[0], address, state.authority_root)
    except httpx.HTTPError as error:
        return "does not answer", [f"the site does not answer: {error}"]
    text = f"HTTP {answer.status} in {answer.seconds * 1000:.0f} ms"
    return text, [] if answer.healthy else [f"the site answers with HTTP status {answer.status}"]


def _provider(session: Session, deployment: DeploymentHome) -> Provider:
    answers = read_answers(deployment)
    account = engine_open.account(answers, session.secrets(deployment))
    return engine_open.provider(answers.provider.name, session.home, account)


def _dns(session: Session, deployment: DeploymentHome, state: State) -> tuple[str, list[str]]:
    answers = read_answers(deployment)
    secrets = session.secrets(deployment)
    try:
        provider = _provider(session, deployment)
        dns = engine_open.dns(answers, provider.services(answers.dns.zone), secrets)
        records = dns.records(deployment.name)
    except BuildUsbError as error:
        return "cannot be asked", [f"DNS: {error.what}: {error.why}"]
    text = "; ".join(f"{r.name} -> {', '.join(r.addresses)}" for r in records)
    missing = set(state.hosts) - {record.name for record in records}
    return text or "no records", [f"DNS: no record of ours for {name}" for name in sorted(missing)]

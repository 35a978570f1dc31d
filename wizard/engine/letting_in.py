"""Lets the build machine in from where it is now.

A laptop moves, and both firewalls know where it was. The provider's is changed by its API; ufw on
the machines is told through the bucket, which they look into each minute, by a text that carries a
signature of the key that administers them (see agent.build_machine).
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from wizard.agent.build_machine import NAME, NAMESPACE, VERSION
from wizard.engine import agents, ssh
from wizard.engine.context import Context
from wizard.engine.graph import Reporter, Step
from wizard.engine.state import State
from wizard.errors import NotSupportedError, ProviderError
from wizard.events import Progress
from wizard.home import keys
from wizard.providers.base import Provider

STEP = "let-in"
_TITLE = "let this computer in at its address of now"
DEADLINE = 180.0
"""Seconds within which machines let it in; they look each minute."""


def moved_to(provider: Provider, state: State) -> str:
    """Return the address at which the machines do not let this computer in yet; empty if they do,
    if there are none, or where it cannot be found out: that must keep nobody from machines that
    may well answer, nor from taking them away."""
    if not state.machines or not state.build_machine:
        return ""
    try:
        here = provider.build_machine()
    except ProviderError:
        return ""
    return here if here != state.build_machine else ""


def has_moved(context: Context) -> bool:
    """Say whether there are machines that know this computer at another address."""
    return bool(moved_to(context.provider, context.state))


def needed(context: Context) -> tuple[str, ...]:
    """Return the step of a deploy after which machines that were there before can be reached."""
    return (STEP,) if has_moved(context) else ()


def steps(context: Context) -> list[Step]:
    """Return what lets this computer in and waits until it is; the context must be connected."""
    return [Step(STEP, _TITLE, lambda report: _let_in(context, report), expected=60)]


def before(context: Context, others: list[Step]) -> list[Step]:
    """Return steps that reach machines, preceded by what lets this computer in if it has moved."""
    if not has_moved(context):
        return others
    return [
        *steps(context),
        *(step if step.needs else replace(step, needs=(STEP,)) for step in others),
    ]


def _let_in(context: Context, report: Reporter) -> str:
    plan = context.plan
    context.provider.ensure_firewall(plan.deployment, plan.rules, enabled=plan.native_firewall)
    told = _tell(context, report)
    _wait(context, report.progress)
    # not before: whoever is stopped in between tells them again
    context.update(lambda state: replace(state, **told))
    return str(told["build_machine"])


def announce(context: Context) -> list[Step]:
    """Return the part of a deploy, which sees to the rest itself."""
    if not has_moved(context):
        return []

    def tell(report: Reporter) -> str:
        told = _tell(context, report)
        context.update(lambda state: replace(state, **told))
        return str(told["build_machine"])

    return [Step(STEP, _TITLE, tell, needs=("firewall", "bucket"))]


def _tell(context: Context, report: Reporter) -> dict[str, Any]:
    """Tell the machines where this computer is; return what the state is to say of it."""
    assert context.bucket is not None
    if context.plan.file_system is not None and context.plan.machine_firewall:
        raise NotSupportedError(
            "this computer has another address than before, which the machines cannot be told",
            where="shared_config.kind",
            why=f"they let in {context.state.build_machine}, and look for another address in the "
            "bucket alone, which is not mounted with efs",
            cure="go on from the network of before; to work from several, deploy from there with "
            "ssh.build_machine naming a network that all of them are in, or with "
            "firewall.machine: false",
        )
    address = context.provider.build_machine()
    at = max(int(time.time()), context.state.build_machine_at + 1)
    values = {"version": VERSION, "deployment": context.plan.deployment, "address": address}
    text = json.dumps(values | {"at": at})
    key = keys.key_pair(context.secrets, "ssh_key").private
    signed = {"text": text, "signature": keys.sign(key, NAMESPACE, text.encode())}
    context.journal.record("intent", report.step, address=address)
    context.bucket.put(NAME, (json.dumps(signed) + "\n").encode())
    context.journal.record("done", report.step, address=address)
    return {"build_machine": address, "build_machine_at": at}


def _wait(context: Context, progress: Progress) -> None:
    """Return when all machines answer with SSH; MachineError if one does not in time."""
    machines = list(context.state.machines.values())
    progress("waiting until the machines look, each minute", 0, len(machines))

    def answers(name: str) -> None:
        connection = agents.connection(context, name)
        ssh.connect_until(connection, (connection.host_key,), DEADLINE)[0].close()

    with ThreadPoolExecutor(max_workers=16) as pool:
        found = pool.map(answers, [machine.name for machine in machines])
        for count, _ in enumerate(found, 1):
            progress("waiting until the machines look, each minute", count, len(machines))

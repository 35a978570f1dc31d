"""Asks the agent of a machine to do something, over SSH."""

from __future__ import annotations

import json
from typing import Any

from wizard.engine import ssh
from wizard.engine.context import Context
from wizard.errors import MachineError
from wizard.home import keys
from wizard.machines.job import Connection
from wizard.machines.places import AGENT_PATH
from wizard.secrets import Secret

_NOTHING = Secret("")


def connection(context: Context, name: str) -> Connection:
    """Return how to reach a machine of the deployment."""
    found = context.state.machines[name]
    login = keys.key_pair(context.secrets, "ssh_key").private
    return Connection(context.address(found), context.plan.ssh_port, login, found.host_key)


def call(
    context: Context, name: str, *words: str, seconds: float = 60.0, stdin: Secret = _NOTHING
) -> dict[str, Any]:
    """Return what the agent of a machine of the deployment answers to a command; see `ask`."""
    return ask(connection(context, name), name, *words, seconds=seconds, stdin=stdin)


def ask(
    reached: Connection,
    name: str,
    *words: str,
    seconds: float,
    patience: float = ssh.CONNECT_SECONDS,
    stdin: Secret = _NOTHING,
) -> dict[str, Any]:
    """Return what an agent answers to a command; MachineError if it makes no sense. `ok` and
    `problem` in the answer say whether it could do it; `patience`: seconds to connect in."""
    with ssh.connect(reached, patience) as client:
        _, output, errors = ssh.run(
            client, (AGENT_PATH, *words), stdin=stdin.reveal(), seconds=seconds
        )
    try:
        answer = json.loads(output)
        answer["ok"]
    except (ValueError, KeyError, TypeError) as error:
        raise MachineError(
            "its agent does not answer as it should",
            where=name,
            why=errors[-2000:] or output[-2000:],
            cure=f"look at it: build-usb ssh {name} {AGENT_PATH} status",
        ) from error
    return dict(answer)


def demand(
    context: Context, name: str, *words: str, seconds: float = 60.0, stdin: Secret = _NOTHING
) -> dict[str, Any]:
    """Return what the agent answers; MachineError with its reason if it could not do it."""
    answer = call(context, name, *words, seconds=seconds, stdin=stdin)
    if not answer["ok"]:
        raise MachineError(
            f"its agent could not do it: {' '.join(words)}",
            where=name,
            why=str(answer.get("problem", "")),
            cure=f"look at it: build-usb ssh {name} {AGENT_PATH} status",
        )
    return answer

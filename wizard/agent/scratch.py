"""A copy of the application's database beside the live one: cleaned, read, and thrown away.

The live database is only read. Orders come as JSON on standard input: `database`, `client_file` (as
in the configuration of backups), and `statements` (with `program`: SQL) or `tables`.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from wizard.agent.errors import AgentError
from wizard.agent.mariadb import LONGEST, Server, ask
from wizard.agent.state import Places

_QUIET = ("--skip-lock-tables", "--no-tablespaces", "--skip-triggers", "--hex-blob", "--quick")
_RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES"


def make(order: dict[str, Any]) -> dict[str, Any]:
    """Make the copy, in place of one that was left; return the names of its tables."""
    reached, name = _reached(order)
    reached.make(name)
    dump = subprocess.Popen(
        [*reached.command("mariadb-dump"), "--single-transaction", *_QUIET,
         reached.database],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    problem = reached.load(name, dump.stdout)
    assert dump.stdout
    dump.stdout.close()
    _, said = dump.communicate()
    if problem or dump.returncode:
        drop(order)
        why = (said.decode(errors="replace") + problem).strip()[-300:]
        raise AgentError(f"the database cannot be copied: {why}")
    return {"tables": reached.tables(name)}


def clean(order: dict[str, Any], places: Places) -> dict[str, Any]:
    """Run the application's own program (empty: it has none) on the copy, by an account that
    reaches nothing else; then the statements of the order."""
    reached, name = _reached(order)
    if order.get("program"):
        _run(reached, name, str(order["program"]), places)
    statements = [str(statement) for statement in order["statements"]]
    reached.sql(";\n".join([f"USE `{name}`", *statements]) + ";\n")
    return {"statements": len(statements), "tables": reached.tables(name)}


def _run(reached: Server, name: str, program: str, places: Places) -> None:
    with reached.account(name, _RIGHTS, places.runtime) as account:
        # in its sandbox the client runs no commands, and reads no files
        command = ["mariadb", f"--defaults-file={account}", "--batch", "--sandbox",
                   "--local-infile=0", name]  # fmt: skip
        try:
            ask(command, program)
        except AgentError as error:
            raise AgentError(f"the application's own baseline.sql: {error}") from error


def dump(order: dict[str, Any]) -> int:
    """Write the copy's tables to standard output as SQL, a row a line; return the exit code."""
    reached, name = _reached(order)
    options = ("--compact", "--complete-insert", "--skip-extended-insert", "--order-by-primary")
    tables = [str(table) for table in order["tables"]]
    sys.stdout.flush()
    return subprocess.run(
        [*reached.command("mariadb-dump"), *_QUIET, *options, name, *tables],
        check=False,
        timeout=LONGEST,
    ).returncode


def drop(order: dict[str, Any]) -> dict[str, Any]:
    """Throw the copy away."""
    reached, name = _reached(order)
    reached.drop(name)
    return {}


def _reached(order: dict[str, Any]) -> tuple[Server, str]:
    """Return how the server is reached, and the copy's name."""
    try:
        reached = Server(str(order["database"]), str(order.get("client_file", "")))
    except KeyError as error:
        raise AgentError(f"the order is not understood: {error!r}") from error
    return reached, f"{reached.database}_baseline"

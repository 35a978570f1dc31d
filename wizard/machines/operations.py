"""pyinfra facts and operations that make a machine's description true.

One fact reads everything in a single round trip, one operation writes all changed files of a part:
a run that changes nothing costs two commands, not two a file.
Imported only in the worker process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand, operation

from wizard.machines.desired import Handler, Part, Step
from wizard.machines.remote import source


class Probe(FactBase[dict[str, Any]]):  # type: ignore[misc]
    """How the machine is; `query` is remote/probe.py's JSON (paths and names, never a secret)."""

    def command(self, query: str) -> StringCommand:
        """Run the probe."""
        return StringCommand("python3", "-c", QuoteString(source("probe")), QuoteString(query))

    def process(self, output: list[str]) -> dict[str, Any]:
        """Parse the answer."""
        answer: dict[str, Any] = json.loads(output[-1])
        return answer


def _python(program: str, document: dict[str, Any]) -> StringCommand:
    return StringCommand("python3", "-c", QuoteString(source(program)), _stdin=json.dumps(document))


@operation()  # type: ignore[untyped-decorator]
def install_packages(missing: list[str]) -> Iterator[StringCommand]:
    """Install Debian packages (of `a|b` the first) without what they merely recommend."""
    if missing:
        apt = "DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
        names = " ".join(name.split("|")[0] for name in missing)
        yield StringCommand(f"{apt} update")
        yield StringCommand(
            f"{apt} install -y --no-install-recommends -o Dpkg::Options::=--force-confdef"
            f" -o Dpkg::Options::=--force-confold {names}"
        )


@operation()  # type: ignore[untyped-decorator]
def put_items(part: Part, found: dict[str, Any]) -> Iterator[StringCommand]:
    """Write the files, folders and links of a part that are not as wanted."""
    changed = changed_items(part, found)
    if changed:
        handlers = {handler for item in changed for handler in item.handlers}
        yield _python(
            "put",
            {
                "handlers": sorted(handlers),
                "items": [
                    {"path": item.path, "state": item.state(), "order": item.order()}
                    for item in changed
                ],
            },
        )


@operation()  # type: ignore[untyped-decorator]
def run_handler(handler: Handler, due: bool) -> Iterator[StringCommand]:
    """Run a handler if it is due, then forget that it was."""
    if due:
        yield StringCommand(
            f"{{ {handler.command}\n}} && rm -f /var/lib/build-usb/pending/{handler.name}"
        )


@operation()  # type: ignore[untyped-decorator]
def set_services(start: list[str], enable: list[str], mask: list[str]) -> Iterator[StringCommand]:
    """Mask, enable and start units."""
    if mask:
        names = " ".join(mask)
        yield StringCommand(
            f"systemctl mask --now {names} && {{ systemctl reset-failed {names}; true; }}"
        )
    if enable:
        yield StringCommand(f"systemctl enable {' '.join(enable)}")
    if start:
        yield StringCommand(f"systemctl start {' '.join(start)}")


@operation()  # type: ignore[untyped-decorator]
def run_step(step: Step, due: bool) -> Iterator[StringCommand]:
    """Run a guarded step if it is due."""
    if due:
        yield _python(
            "step",
            {
                "name": step.name,
                "digest": step.digest(),
                "command": step.command,
                "observe": step.observe,
                "input": step.secret_input.reveal(),
            },
        )


def changed_items(part: Part, found: dict[str, Any]) -> list[Any]:
    """Return the items of a part that differ from what the probe found."""
    return [item for item in part.items if found["items"][item.path] != item.state()]


def add_part(part: Part, found: dict[str, Any]) -> None:
    """Add the operations of one part; the same ones whether they will change anything or not."""
    changed = changed_items(part, found)
    touched = {handler for item in changed for handler in item.handlers}
    if part.items:
        put_items(name=f"{part.name}: files", part=part, found=found)
    for handler in part.handlers:
        due = handler.name in touched or handler.name in found["pending"]
        run_handler(name=f"{part.name}: {handler.name}", handler=handler, due=due)
    if part.services or part.masked:
        states = found["services"]
        set_services(
            name=f"{part.name}: services",
            start=[s for s in part.services if states[s][0] not in ("active", "activating")],
            enable=[s for s in part.services if states[s][1] not in ("enabled", "static")],
            mask=[s for s in part.masked if states[s][1] not in ("masked", "")],
        )
    for step in part.steps:
        marker, observed = found["steps"][step.name]
        due = marker != f"{step.digest()} {observed}"
        run_step(name=f"{part.name}: {step.name}", step=step, due=due)


def query(parts: tuple[Part, ...]) -> str:
    """Return the probe's query for these parts."""
    return json.dumps(
        {
            "paths": [item.path for part in parts for item in part.items],
            "services": [s for part in parts for s in (*part.services, *part.masked)],
            "steps": {step.name: step.observe for part in parts for step in part.steps},
        }
    )

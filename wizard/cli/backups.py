"""Commands on restore points: backup, points, restore."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from wizard.cli.common import open_home, say, stop_on_signals
from wizard.errors import ExitCode, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from wizard.engine.graph import Step
    from wizard.events import EventSink


def backup(arguments: argparse.Namespace) -> int:
    """Make a restore point."""
    from wizard.console import display
    from wizard.operations import points as operations
    from wizard.operations import session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    point = operations.backup(
        session.unlock(home, arguments.passphrase_file),
        deployment,
        lambda steps: display(steps, json=arguments.json),
        stop_on_signals(),
        check=arguments.check,
    )
    if not arguments.json:
        say(f"{point} is kept; put it back with: build-usb restore {point}")
    return ExitCode.OK


def points(arguments: argparse.Namespace) -> int:
    """Print the restore points, or what is in one."""
    from wizard.operations import points as operations
    from wizard.operations import session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    opened = session.unlock(home, arguments.passphrase_file)
    if arguments.path and not arguments.point:
        raise UsageError("--path is a folder of a restore point", cure="name it: --point POINT")
    if arguments.point:
        shown = operations.show_point(
            opened, deployment, arguments.point, arguments.path, second=arguments.second
        )
        print(json.dumps(shown, indent=2) if arguments.json else "\n".join(_shown(shown)))
        return ExitCode.OK
    known = operations.points(opened, deployment, second=arguments.second)
    if arguments.json:
        print(json.dumps(known, indent=2))
    else:
        for point in known:
            parts = ", ".join(f"{part} {size['bytes']:,} bytes" for part, size in
                              sorted(point["parts"].items()))  # fmt: skip
            print(f"{point['name']:<30} {parts}{'' if point['whole'] else '  NOT WHOLE'}")
    return ExitCode.OK


def _shown(parts: list[dict[str, Any]]) -> list[str]:
    """Return lines about the parts of a point."""
    lines = []
    for part in parts:
        when = str(part["time"])[:16].replace("T", " ")
        code = f", of the code {part['code']}" if part.get("code") else ""
        lines.append(f"{part['point']} {part['part']}: {part['bytes']:,} bytes, {when} UTC{code}")
        for entry in part["entries"]:
            size = f"{entry['size'] or 0:,}" if entry["type"] == "file" else entry["type"]
            lines.append(f"  {size:>15}  {str(entry['time'])[:16].replace('T', ' ')}  "
                         f"{entry['name']}")  # fmt: skip
        if part["left_off"]:
            lines.append(f"  ... and {part['left_off']} more")
    return lines


def restore(arguments: argparse.Namespace) -> int:
    """Put a restore point back, or one file of it."""
    from wizard.console import display
    from wizard.operations import points as operations
    from wizard.operations import session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.deployment)
    if arguments.to and not arguments.file:
        raise UsageError("--to is where one file goes", cure="name the file: --file PATH")
    if arguments.to:
        opened = session.unlock(home, arguments.passphrase_file)
        size = operations.fetch_file(
            opened,
            deployment,
            arguments.point,
            arguments.file,
            arguments.to,
            second=arguments.second,
        )
        say(f"{arguments.to}: {size:,} bytes, as of {arguments.point}")
        return ExitCode.OK
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "restoring asks first and there is no terminal to ask on",
                cure="give --yes if you are sure",
            )
        what = f"{arguments.file} of " if arguments.file else ""
        place = "what is there of it" if arguments.file else "the database and the files"
        say(
            f"This puts {what}{arguments.point} in place of {place} of "
            f"{deployment.name}. What runs now is kept as a restore point first."
        )
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            raise InterruptedRunError("nothing was changed")
    opened, point = session.unlock(home, arguments.passphrase_file), arguments.point

    def show(steps: Sequence[Step]) -> AbstractContextManager[EventSink]:
        return display(steps, json=arguments.json)

    second, stop = arguments.second, stop_on_signals()
    if arguments.file:
        operations.restore_file(
            opened, deployment, point, arguments.file, show, stop, second=second
        )
    else:
        operations.restore(opened, deployment, point, show, stop, second=second)
    if not arguments.json:
        say(f"{arguments.file or deployment.name} is as it was at {point}.")
    return ExitCode.OK

"""Commands on restore points: backup, points, restore."""

from __future__ import annotations

import argparse
import json
import sys

from wizard.cli.common import open_home, say, stop_on_signals
from wizard.errors import ExitCode, InterruptedRunError, UsageError


def backup(arguments: argparse.Namespace) -> int:
    """Make a restore point."""
    from wizard.console import display
    from wizard.operations import run, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    point = run.backup(
        session.unlock(home, arguments.passphrase_file),
        deployment,
        lambda steps: display(steps, json=arguments.json),
        stop_on_signals(),
    )
    if not arguments.json:
        say(f"{point} is kept; put it back with: build-usb restore {point}")
    return ExitCode.OK


def points(arguments: argparse.Namespace) -> int:
    """Print the restore points."""
    from wizard.operations import run, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    known = run.points(session.unlock(home, arguments.passphrase_file), deployment)
    if arguments.json:
        print(json.dumps(known, indent=2))
    else:
        for point in known:
            parts = ", ".join(f"{part} {size['bytes']:,} bytes" for part, size in
                              sorted(point["parts"].items()))  # fmt: skip
            print(f"{point['name']:<30} {parts}{'' if point['whole'] else '  NOT WHOLE'}")
    return ExitCode.OK


def restore(arguments: argparse.Namespace) -> int:
    """Put a restore point back."""
    from wizard.console import display
    from wizard.operations import run, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.deployment)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "restoring asks first and there is no terminal to ask on",
                cure="give --yes if you are sure",
            )
        say(
            f"This puts {arguments.point} in place of the database and the files of "
            f"{deployment.name}. What runs now is kept as a restore point first."
        )
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            raise InterruptedRunError("nothing was changed")
    run.restore(
        session.unlock(home, arguments.passphrase_file),
        deployment,
        arguments.point,
        lambda steps: display(steps, json=arguments.json),
        stop_on_signals(),
    )
    if not arguments.json:
        say(f"{deployment.name} is as it was at {arguments.point}.")
    return ExitCode.OK

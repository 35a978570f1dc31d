"""Commands for production mode: scale, roll, pause-scaling, resume-scaling, dashboard."""

from __future__ import annotations

import argparse
import contextlib
import signal

from wizard.cli.common import open_home, say
from wizard.errors import ExitCode, UsageError

SCHEDULE = "schedule"


def scale(arguments: argparse.Namespace) -> int:
    """Ask for a number of webservers."""
    from wizard.operations import scaling, session

    wanted = None if arguments.number == SCHEDULE else _number(arguments.number)
    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    opened = session.unlock(home, arguments.passphrase_file)
    wish = scaling.scale(opened, deployment, wanted)
    asked = "what its schedule says" if wanted is None else f"{wanted} webservers"
    say(f"{deployment.name} is asked for {asked}; build-usb status shows how far it is")
    if wish.paused:
        say("its scaling is paused: nothing is added or removed before build-usb resume-scaling")
    return ExitCode.OK


def roll(arguments: argparse.Namespace) -> int:
    """Ask for work on one webserver after the other."""
    from wizard.autoscaler.fleet import Work
    from wizard.operations import scaling, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    opened = session.unlock(home, arguments.passphrase_file)
    wish = scaling.roll(opened, deployment, Work(arguments.work))
    say(f"{deployment.name} is asked for it, one webserver after the other; build-usb status shows "
        "how far it is")  # fmt: skip
    if wish.paused:
        say("its scaling is paused: nothing begins before build-usb resume-scaling")
    return ExitCode.OK


def dashboard(arguments: argparse.Namespace) -> int:
    """Show the autoscalers' status page until Ctrl-C."""
    from wizard.operations import session
    from wizard.operations.dashboard import Dashboard

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    opened = session.unlock(home, arguments.passphrase_file)
    shown = Dashboard(opened, deployment, arguments.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(shown.url, flush=True)
    say(f"the autoscalers' page, as JSON at {shown.url}status.json; Ctrl+C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        shown.serve()
    shown.close()
    return ExitCode.OK


def pause(arguments: argparse.Namespace) -> int:
    """Let the autoscalers replace, add and remove nothing."""
    _pause(arguments, paused=True)
    say("paused: nothing is replaced, added or removed before build-usb resume-scaling; DNS still "
        "leads visitors past webservers that do not answer")  # fmt: skip
    return ExitCode.OK


def resume(arguments: argparse.Namespace) -> int:
    """Let the autoscalers go on."""
    _pause(arguments, paused=False)
    say("resumed")
    return ExitCode.OK


def _pause(arguments: argparse.Namespace, *, paused: bool) -> None:
    from wizard.operations import scaling, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    scaling.pause(session.unlock(home, arguments.passphrase_file), deployment, paused=paused)


def _number(text: str) -> int:
    if not (text.isdecimal() and text.isascii()):
        raise UsageError(
            f"{text!r} is no number of webservers",
            cure=f"give a number, or `{SCHEDULE}` for what the answers' schedule says",
        )
    return int(text)

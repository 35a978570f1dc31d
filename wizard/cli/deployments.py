"""Commands on deployments: deploy, status, ssh, destroy, adopt."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wizard.cli.common import load, open_home, say, stop_on_signals
from wizard.errors import ExitCode, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from wizard.engine.graph import StepResult
    from wizard.engine.state import State
    from wizard.home.home import Home
    from wizard.plan.model import Plan


def deploy(arguments: argparse.Namespace) -> int:
    """Make the answers true."""
    from wizard.console import display
    from wizard.operations import run, session
    from wizard.plan import difference, render

    answers = load(arguments.answers)
    home = open_home(arguments)
    opened = session.unlock(home, arguments.passphrase_file, create=True)
    plan = session.make_plan(home, answers, opened.credentials)
    if not arguments.json:
        say(render.to_text(plan))
        found = session.compare(home, answers, plan, opened.credentials)
        if found is not None:
            say(difference.to_text(found))
    _confirm_price(plan, agreed=arguments.yes)
    context, results = run.deploy(
        opened, answers, lambda steps: display(steps, json=arguments.json), stop_on_signals()
    )
    if not arguments.json:
        say(_report(context.state, home, results))
    return ExitCode.OK


def _confirm_price(plan: Plan, *, agreed: bool) -> None:
    if agreed or plan.monthly_price == 0:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "this plan costs money and there is no terminal to ask on",
            cure="give --yes to agree to the price shown",
        )
    reply = input(f"Rent this for {plan.monthly_price:.2f} {plan.currency} a month? [y/N] ")
    if reply.strip().lower() not in ("y", "yes"):
        raise InterruptedRunError("nothing was made", cure="run it again when you are sure")


def _report(state: State, home: Home, results: Sequence[StepResult]) -> str:
    seconds = {f"{r.step.machine} {r.step.title}".strip(): r.seconds for r in results}
    width = max(map(len, seconds))
    stages = "\n".join(f"  {title:<{width}}  {took:6.1f} s" for title, took in seconds.items())
    option = (
        ""
        if home.path == home.locate(environ={**os.environ, "BUILD_USB_HOME": ""})
        else (f" --home {home.path}")
    )
    return f"""
{stages}

The site:       {state.url}
{_administrator(state, home, option)}Next:           build-usb status{option}
                build-usb ssh web1{option}
                build-usb destroy{option}
"""


def _administrator(state: State, home: Home, option: str) -> str:
    if not state.login_url:
        return ""
    return f"""\
Administrator:  {state.admin_user}, at {state.login_url}
Password:       kept encrypted in {home.path}; show it with
                build-usb secret admin_password{option}
"""


def status(arguments: argparse.Namespace) -> int:
    """Print how a deployment is."""
    from wizard.operations import session, status

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    opened = session.unlock(home, arguments.passphrase_file)
    result = status.status(opened, deployment)
    print(
        json.dumps(status.to_plain(result)) if arguments.json else status.to_text(result).rstrip()
    )
    return ExitCode.OK if result.healthy else ExitCode.UNHEALTHY


def ssh(arguments: argparse.Namespace) -> int:
    """Open a shell on a machine."""
    from wizard.home import keys
    from wizard.operations import scaling, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.deployment)
    machines = session.read_state(deployment).machines
    opened = session.unlock(home, arguments.passphrase_file)
    if arguments.machine not in machines and scaling.refresh(opened, deployment):
        machines = session.read_state(deployment).machines
    if arguments.machine not in machines:
        raise UsageError(
            f"{deployment.name} has no machine called {arguments.machine}",
            cure=f"choose one of: {', '.join(sorted(machines)) or 'none is made yet'}",
        )
    key = keys.key_pair(opened.secrets(deployment), "ssh_key").private
    return keys.open_ssh(deployment, key, [arguments.machine, *arguments.words])


def let_in(arguments: argparse.Namespace) -> int:
    """Let this computer in at its address of now."""
    from wizard.console import display
    from wizard.operations import run, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    address, moved = run.let_in(
        session.unlock(home, arguments.passphrase_file),
        deployment,
        lambda steps: display(steps, json=arguments.json),
        stop_on_signals(),
    )
    if not arguments.json:
        say(f"The machines let in {address}{', and the address of before no more' * moved}.")
    return ExitCode.OK


def destroy(arguments: argparse.Namespace) -> int:
    """Take a deployment away."""
    from wizard.console import display
    from wizard.engine.destroy import DATABASES, GONE, KEEP
    from wizard.operations import run, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    answers = session.read_answers(deployment)
    if arguments.without_last_backup and answers.mode == "production":
        raise UsageError(
            "a production deployment is not destroyed without a last restore point",
            cure="repair what keeps it from being made; build-usb status says what it is",
        )
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "destroying asks for the deployment's name and there is no terminal to ask on",
                cure="give --yes if you are sure",
            )
        say(
            f"This deletes the machines, the bucket and the DNS records of {deployment.name} "
            f"({answers.domain.name}): the website and its database are gone for good."
        )
        if input(f"Type {deployment.name} to go on: ").strip() != deployment.name:
            raise InterruptedRunError("nothing was deleted")
    opened = session.unlock(home, arguments.passphrase_file)
    results = run.destroy(
        opened,
        deployment,
        answers,
        lambda steps: display(steps, json=arguments.json),
        stop_on_signals(),
        last_backup=not arguments.without_last_backup,
        with_backups=arguments.with_backups,
    )
    if not arguments.json:
        kept = next((r.message for r in results if r.step.id == KEEP), "")
        left = [f"its backups stay in {kept}"] if kept else []
        copies = [r.message for r in results if r.step.id.startswith(DATABASES)]
        left += [copy for copy in copies if copy != GONE]
        say(f"{deployment.name} is destroyed; {'; '.join(left) or 'nothing of it is left'}.")
    return ExitCode.OK


def adopt(arguments: argparse.Namespace) -> int:
    """Take over a deployment whose home is lost."""
    from wizard.answers import loader
    from wizard.events import silent
    from wizard.operations.adopt import adopt

    home = open_home(arguments)
    adopted = adopt(home, loader.load(arguments.answers), arguments.passphrase_file, silent)
    say(f"{adopted.name} is known to {home.path} now; look at it with build-usb status")
    return ExitCode.OK

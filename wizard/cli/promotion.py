"""Commands that lead a site from development to production, and its plugins after it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from wizard.cli.common import load, open_home, say, stop_on_signals
from wizard.errors import ExitCode, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from wizard.engine.graph import Step
    from wizard.events import EventSink
    from wizard.operations.promotion import Promotion
    from wizard.operations.session import Session


def options(added: argparse.ArgumentParser) -> None:
    """Tell the command line."""
    added.add_argument("name", metavar="NAME", help="the development deployment")
    added.add_argument(
        "answers",
        metavar="ANSWERS",
        type=Path,
        nargs="?",
        help="production's answers; without: go on with what was begun",
    )
    added.add_argument("--test-domain", metavar="DOMAIN", help="default: test.DOMAIN")
    added.add_argument(
        "--by",
        choices=("baseline", "backup"),
        default="baseline",
        help="what is carried over: a baseline leaves accounts and orders behind, a backup takes "
        "all (default: %(default)s)",
    )
    added.add_argument(
        "--end-development",
        action="store_true",
        help="take the development deployment away at the end; asks for its name",
    )
    added.add_argument("--until", metavar="STEP", help="stop after this step")
    added.add_argument(
        "--past-check", action="store_true", help="go on though the last check found something"
    )
    added.add_argument(
        "--undo", action="store_true", help="take the test deployment away and forget it"
    )
    added.add_argument("--show", action="store_true", help="show how far it is, and do nothing")
    added.add_argument("--yes", action="store_true", help="do not ask")
    added.add_argument("--json", action="store_true", help="print one event a line as JSON")


def promote(arguments: argparse.Namespace) -> int:
    """Begin a promotion, or go on with it."""
    from wizard.console import display
    from wizard.operations import promote, session
    from wizard.operations import promotion as promotions

    home, name = open_home(arguments), str(arguments.name)
    promotion = promotions.known(home, name)
    if promotion is None:
        session.choose(home, name)
    if arguments.show:
        print(_json(promotion) if arguments.json else _text(promotion, name))
        return ExitCode.OK
    if arguments.until not in (None, *promotions.STEPS):
        raise UsageError(
            f"there is no step {arguments.until}", cure=f"one of: {', '.join(promotions.STEPS)}"
        )
    opened = session.unlock(home, arguments.passphrase_file)
    stop = stop_on_signals()
    # who reads events has no use for words
    tell = (lambda _text: None) if arguments.json else say

    def show(steps: Sequence[Step]) -> AbstractContextManager[EventSink]:
        return display(steps, json=arguments.json)

    if promotion is None:
        if arguments.answers is None or arguments.undo:
            raise UsageError(
                f"no promotion of {name} has begun", cure="name production's answers too"
            )
        promotion = promote.begin(
            opened,
            name,
            load(arguments.answers),
            test_domain=arguments.test_domain,
            by=arguments.by,
            ends=arguments.end_development,
        )
        _agree(arguments, opened, promotion)
    elif arguments.undo:
        with promote.at_work(opened, name, show, "undo") as shown:
            promote.undo(opened, promotion, shown, stop)
        tell(f"nothing of the promotion is left; {name} is as it was")
        return ExitCode.OK
    elif arguments.answers is not None:
        raise UsageError(
            f"a promotion of {name} has begun already",
            cure=f"go on with it: build-usb promote {name}; or undo it first: --undo",
        )
    with promote.at_work(opened, name, show) as shown:
        if arguments.past_check:
            promotion = promote.pass_check(home, promotion)
        while promotion.ahead:
            if arguments.until in dict(promotion.done):
                tell(f"stopped after {arguments.until}; go on with: build-usb promote {name}")
                return ExitCode.OK
            step = promotion.ahead[0]
            tell(f"{step}: {promotions.STEPS[step]}")
            promotion = promote.advance(opened, promotion, shown, stop)
            tell(f"{step}: {promotion.done[-1][1]}")
    tell(f"{promotion.production} is in production; the test deployment is gone")
    return ExitCode.OK


def carry(arguments: argparse.Namespace) -> int:
    """Bring plugins and themes to all webservers of a deployment in production mode."""
    from wizard.console import display
    from wizard.operations import carry as operation
    from wizard.operations import session

    home = open_home(arguments)
    source = session.choose(home, arguments.source)
    deployment = session.choose(home, arguments.name)
    digest = operation.carry(
        session.unlock(home, arguments.passphrase_file),
        source,
        deployment,
        lambda steps: display(steps, json=arguments.json),
        stop_on_signals(),
    )
    if not arguments.json:
        say(f"all webservers of {deployment.name} have the files of {source.name} ({digest[:12]})")
    return ExitCode.OK


def _agree(arguments: argparse.Namespace, opened: Session, promotion: Promotion) -> None:
    """Show what will be rented and done, and ask."""
    from wizard.operations import promote
    from wizard.operations.promotion import forget

    say(_text(promotion, promotion.development))
    say(promote.costs(opened, promotion))
    if arguments.yes:
        return
    try:
        if not sys.stdin.isatty():
            raise UsageError(
                "a promotion asks first and there is no terminal to ask on",
                cure="give --yes if you are sure",
            )
        wanted = promotion.development if promotion.ends else "yes"
        if input(f"Type {wanted} to begin: ").strip() != wanted:
            raise InterruptedRunError("nothing was begun")
    except BaseException:
        forget(opened.home, promotion)
        raise


def _text(promotion: Promotion | None, name: str) -> str:
    from wizard.operations.promotion import outline, title

    if promotion is None:
        return f"no promotion of {name} has begun"
    lines = [title(promotion), *(f"  {line}" for line in outline(promotion))]
    if promotion.can_be_undone:
        lines.append("Nothing that visitors see has changed: --undo takes all of it back.")
    return "\n".join(lines)


def _json(promotion: Promotion | None) -> str:
    if promotion is None:
        return "null"
    kept = ("development", "production", "test", "test_domain", "by", "begun")
    return json.dumps(
        {
            **{key: getattr(promotion, key) for key in kept},
            "done": dict(promotion.done),
            "ahead": promotion.ahead,
            "can_be_undone": promotion.can_be_undone,
        },
        indent=2,
    )

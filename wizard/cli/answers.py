"""Commands on answers: validate, schema, plan, check."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from wizard.cli.common import credentials, load, open_home, say
from wizard.errors import ExitCode

if TYPE_CHECKING:
    pass


def validate(arguments: argparse.Namespace) -> int:
    """Check an answers file."""
    loaded = load(arguments.answers)
    say(f"{arguments.answers}: right; {loaded.application.kind} in {loaded.mode} mode")
    return ExitCode.OK


def schema(_arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of answers."""
    from wizard.answers.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return ExitCode.OK


def template(arguments: argparse.Namespace) -> int:
    """Print answers to begin with."""
    from wizard.operations.template import template as answers_for

    made = answers_for(arguments.provider, arguments.dns, production=arguments.production)
    print(made, end="")
    return ExitCode.OK


def plan(arguments: argparse.Namespace) -> int:
    """Print the plan, and what it changes."""
    from wizard.operations.session import compare, make_plan
    from wizard.plan import difference, render

    home, answers = open_home(arguments), load(arguments.answers)
    secrets = credentials(arguments, home, [answers.provider.credentials])
    made = make_plan(home, answers, secrets)
    found = compare(home, answers, made, secrets)
    if arguments.json:
        changes = difference.to_plain(found) if found is not None else None
        print(json.dumps({**render.to_plain(made), "difference": changes}, indent=2))
    else:
        print(render.to_text(made), end="")
        if found is not None:
            print(f"\n{difference.to_text(found)}", end="")
    return ExitCode.OK


def check(arguments: argparse.Namespace) -> int:
    """Try the answers' credentials out."""
    from wizard.events import silent
    from wizard.operations import checks

    answers = load(arguments.answers)
    home = open_home(arguments)
    secrets = credentials(arguments, home, checks.sources(answers))
    found = checks.check(answers, home, secrets, silent, test_mail=arguments.test_mail)
    print(json.dumps(checks.to_plain(found), indent=2) if arguments.json else checks.to_text(found))
    return ExitCode.PROVIDER if found.bad else ExitCode.OK

"""Commands on baselines: create, inspect, publish, key."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wizard.cli.common import open_home, say, stop_on_signals
from wizard.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from wizard.baselines.scan import Finding
    from wizard.operations.session import Session


def parsers(added: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Tell the command line of the verbs."""
    verbs = added.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text, parents=[common])
        made.add_argument("--json", action="store_true", help="print what came of it as JSON")
        return made

    create = verb("create", "make a baseline of a running deployment, cleaned of what is private")
    create.add_argument("name", metavar="NAME", nargs="?", help="the deployment")
    create.add_argument("--into", metavar="FOLDER", type=Path, help="default: in the build home")
    create.add_argument("--author", default="", help="who shares it")
    create.add_argument("--licence", default="unspecified", help="such as GPL-2.0-or-later")
    create.add_argument("--price", default="", metavar="NOTE", help="what it costs others")
    create.add_argument(
        "--with-rows",
        metavar="TABLE",
        action="append",
        default=[],
        help="take the rows of these tables too (a name without prefix, or a pattern)",
    )
    inspect = verb("inspect", "look through a folder for what must not be published")
    inspect.add_argument("folder", metavar="FOLDER", type=Path)
    publish = verb("publish", "refuse what must not be published; commit, sign, push")
    publish.add_argument("name", metavar="NAME", help="the deployment, or the baseline's folder")
    publish.add_argument("--to", metavar="REPOSITORY", help="https://… or a path; default: that of "
                         "the deployment's answers, else it is committed only")  # fmt: skip
    publish.add_argument(
        "--credentials",
        metavar="SOURCE",
        help="where the remote's token comes from: home:NAME, environment:NAME or file:PATH",
    )
    verb("key", "print the public key that signs this build home's baselines")


def baseline(arguments: argparse.Namespace) -> int:
    """Run one of the verbs."""
    verbs = {"create": _create, "inspect": _inspect, "publish": _publish, "key": _key}
    return verbs[arguments.verb](arguments)


def _create(arguments: argparse.Namespace) -> int:
    from wizard.console import display
    from wizard.engine.baseline_make import Order
    from wizard.operations import baselines, session

    home = open_home(arguments)
    deployment = session.choose(home, arguments.name)
    order = Order(
        folder=(arguments.into or baselines.folder_of(home, deployment.name)).absolute(),
        author=arguments.author,
        licence=arguments.licence,
        price=arguments.price,
        tables=tuple(arguments.with_rows),
    )
    found = baselines.create(
        session.unlock(home, arguments.passphrase_file),
        deployment,
        order,
        lambda steps: display(steps, json=arguments.json),
        stop_on_signals(),
    )
    if arguments.json:
        return ExitCode.OK
    say(f"The baseline is in {order.folder}.")
    if order.emptied:
        say(f"Tables without their rows: {', '.join(order.emptied)}.")
    if order.left_out:
        more = f" and {len(order.left_out) - 5} more" if len(order.left_out) > 5 else ""
        say(f"Files left out: {', '.join(order.left_out[:5])}{more}.")
    _tell(found, str(order.folder))
    return ExitCode.OK


def _inspect(arguments: argparse.Namespace) -> int:
    from wizard.operations import baselines

    found = baselines.inspect(_session(arguments), arguments.folder)
    if arguments.json:
        print(json.dumps([vars(finding) for finding in found], indent=2))
    else:
        for finding in found:
            print(finding)
        say(
            f"{len(found)} places must not be published"
            if found
            else f"nothing was found in {arguments.folder} that must not be published"
        )
    return ExitCode.UNHEALTHY if found else ExitCode.OK


def _publish(arguments: argparse.Namespace) -> int:
    from wizard.engine import open as engine_open
    from wizard.operations import baselines, session

    home = open_home(arguments)
    folder = baselines.chosen(home, arguments.name)
    opened = session.unlock(home, arguments.passphrase_file)
    remote, source = arguments.to, _source(arguments.credentials)
    if arguments.name in home.deployments():
        own = session.read_answers(home.deployment(arguments.name)).baselines
        source = source or (own.credentials if remote in (None, own.repository) else None)
        remote = remote or own.repository
    token = None
    if source is not None:
        token = engine_open.credential(source, opened.credentials, "baselines.credentials")
    commit = baselines.publish(opened, folder, remote, token)
    key = baselines.public_key(opened)
    if arguments.json:
        print(json.dumps({"commit": commit, "repository": remote, "signer": key}, indent=2))
    else:
        say(f"{commit} is signed{f', and in {remote}' if remote else f' in {folder}'}.")
        say(f"Who deploys from it names this as application.source.signers: {key}")
    return ExitCode.OK


def _key(arguments: argparse.Namespace) -> int:
    from wizard.operations import baselines, session

    key = baselines.public_key(session.unlock(open_home(arguments), arguments.passphrase_file))
    print(json.dumps({"signer": key}) if arguments.json else key)
    return ExitCode.OK


def _tell(found: list[Finding], folder: str) -> None:
    if not found:
        say(f"nothing was found in {folder} that must not be published")
        return
    for finding in found[:20]:
        say(f"  {finding}")
    say(f"{len(found)} places must not be published: change them before `baseline publish`")


def _source(text: str | None) -> Any:
    from pydantic import ValidationError

    from wizard.answers.sections import CredentialSource

    if text is None:
        return None
    kind, _, value = text.partition(":")
    try:
        return CredentialSource.model_validate({kind: value})
    except ValidationError as error:
        raise UsageError(
            "this is not where a token could come from",
            where="--credentials",
            cure="home:NAME, environment:NAME or file:/PATH",
        ) from error


def _session(arguments: argparse.Namespace) -> Session | None:
    """Return the unlocked home, whose secrets are looked for; None if there is none."""
    from wizard.home.home import Home
    from wizard.operations import session

    if not Home.locate(arguments.home).is_dir():
        return None
    home = open_home(arguments)
    return session.unlock(home, arguments.passphrase_file) if home.has_identity() else None

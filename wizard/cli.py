"""The command line: `build-usb`. Standard output is data, standard error is for people.

Everything but argparse is imported by the command that needs it, so that `--help` is immediate.
"""

from __future__ import annotations

import argparse
import gc
import getpass
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wizard import __version__
from wizard.errors import BuildUsbError, ExitCode, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from wizard.answers.model import Answers
    from wizard.answers.sections import CredentialSource
    from wizard.engine.graph import StepResult
    from wizard.engine.state import State
    from wizard.home.home import Home
    from wizard.home.store import SecretStore
    from wizard.plan.model import Plan

DESCRIPTION = """\
Deploys websites to cloud machines from one answers file, and takes them away again.
Without a command the wizard opens: it asks, shows the plan, and deploys.

Answers hold every decision and no secret. Keys, state, logs and encrypted secrets live in one
folder, the build home; nothing else on this computer is read or changed.
"""
EPILOG = """\
a first look, with nothing rented and nothing to pay:
  build-usb deploy config-templates/answers/rehearsal.yaml
  build-usb status
  build-usb ssh web1
  build-usb destroy

The passphrase of the build home is asked for, or read from --passphrase-file or the environment
variable BUILD_USB_PASSPHRASE. Exit codes are listed in docs/exit-codes.md.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors meant for people end here."""
    arguments = _parser().parse_args(argv)
    # `--home` may stand before the command and after it
    arguments.home = getattr(arguments, "home", None) or arguments.home_first
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except BuildUsbError as error:
        _say(f"build-usb: {error}")
        return int(error.exit_code)
    except KeyboardInterrupt:
        _say("\nbuild-usb: stopped; running the same command again continues")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # the reader of our output went away (`| head`); python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILURE)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        metavar="DIR",
        help="the build home (default: $BUILD_USB_HOME, else ~/.local/share/build-usb)",
    )
    common.add_argument(
        "--passphrase-file",
        metavar="FILE",
        type=Path,
        help="read the build home's passphrase from FILE (mode 0600)",
    )
    parser = argparse.ArgumentParser(
        prog="build-usb",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"build-usb {__version__}")
    parser.add_argument("--home", dest="home_first", metavar="DIR", help="the build home")
    parser.add_argument(
        "--plain", action="store_true", help="without a command: the wizard as line prompts"
    )
    parser.set_defaults(command=_wizard)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str, more: str = ""
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}",
            parents=[common],
        )
        added.set_defaults(command=run)
        return added

    def answers(added: argparse.ArgumentParser) -> None:
        added.add_argument("answers", metavar="ANSWERS", type=Path, help="an answers file (YAML)")

    def deployment(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "name", metavar="NAME", nargs="?", help="the deployment (default: the only one)"
        )

    def as_json(added: argparse.ArgumentParser, what: str) -> None:
        added.add_argument("--json", action="store_true", help=f"print {what} as JSON")

    answers(
        add(
            "validate",
            _validate,
            "check an answers file",
            "Shows every error at once, with file, line, what was found and what is allowed; "
            "then every setting that this version cannot carry out yet.",
        )
    )
    check = add(
        "check",
        _check,
        "ask the clouds whether the answers can be carried out",
        "Whose account it is, which rights the tokens lack, whether the zone is there and the "
        "world is told to ask for it there. Changes nothing; ends with exit code "
        f"{ExitCode.PROVIDER:d} when a deployment would fail.",
    )
    answers(check)
    as_json(check, "what was found")
    plan = add(
        "plan",
        _plan,
        "show what a deployment would make, and its price",
        "Machines, bucket, firewall rules, DNS records and the price per month; for a "
        "deployment that exists, what would change too. "
        "Asks nobody, creates nothing.",
    )
    answers(plan)
    as_json(plan, "the plan")
    deploy = add(
        "deploy",
        _deploy,
        "make the answers true",
        "Shows the plan, then makes it. Can be interrupted at any moment and run again: it "
        "continues, and changes nothing that is already as it should be.",
    )
    answers(deploy)
    as_json(deploy, "one event a line")
    deploy.add_argument("--yes", action="store_true", help="do not ask before renting machines")
    status = add(
        "status",
        _status,
        "ask machines, DNS and the site how they are",
        f"Ends with exit code {ExitCode.UNHEALTHY:d} when something is wrong.",
    )
    deployment(status)
    as_json(status, "the status")
    ssh = add(
        "ssh",
        _ssh,
        "open a shell on a machine, or run a command there",
        "Uses the deployment's own key and known hosts, never yours.",
    )
    ssh.add_argument("machine", metavar="MACHINE", help="for example web1")
    ssh.add_argument("words", metavar="WORD", nargs=argparse.REMAINDER, help="a command to run")
    ssh.add_argument("--deployment", metavar="NAME", help="default: the only one")
    destroy = add(
        "destroy",
        _destroy,
        "take a deployment away, all of it",
        "Deletes DNS records, bucket, machines, firewall and network, proves that nothing is "
        "left, then forgets the deployment. Asks for its name to be typed.",
    )
    deployment(destroy)
    as_json(destroy, "one event a line")
    destroy.add_argument("--yes", action="store_true", help="do not ask for the name")
    destroy.add_argument(
        "--with-backups", action="store_true", help="delete the temporal backups as well"
    )
    destroy.add_argument(
        "--without-last-backup",
        action="store_true",
        help="development mode: make no restore point first (when a machine is broken)",
    )
    backup = add("backup", _backup, "make a restore point now", "Database and files, encrypted.")
    deployment(backup)
    as_json(backup, "one event a line")
    points = add("points", _points, "list the restore points")
    deployment(points)
    as_json(points, "the restore points")
    restore = add(
        "restore",
        _restore,
        "put a restore point back in place of what runs",
        "Makes a restore point of what runs first, so that this can be undone.",
    )
    restore.add_argument("point", metavar="POINT", help="its name; see build-usb points")
    restore.add_argument("--deployment", metavar="NAME", help="default: the only one")
    restore.add_argument("--yes", action="store_true", help="do not ask")
    as_json(restore, "one event a line")
    adopt = add(
        "adopt",
        _adopt,
        "take over a deployment whose build machine is lost",
        "Finds its encrypted state in its bucket. ANSWERS say where to look; the passphrase is "
        "that of the lost build home.",
    )
    answers(adopt)
    for name, run, text, more in (
        (
            "export",
            _export,
            "keep an encrypted copy of the build home elsewhere",
            "In a folder, such as one on another stick, or in a bucket. The passphrase opens it.",
        ),
        (
            "import",
            _import,
            "make a build home of such a copy",
            "Takes the newest backup of a folder or bucket. The home must be new or empty.",
        ),
    ):
        kept = add(name, run, text, more)
        kept.add_argument("place", metavar="PLACE", help="a folder, or a bucket with --storage")
        kept.add_argument(
            "--storage",
            metavar="ANSWERS",
            type=Path,
            help="PLACE is a bucket in the object storage of these answers",
        )
    add("clone", _clone, "copy this stick to a second one", "Asks which, and for its model.")
    secret = add(
        "secret",
        _secret,
        "show a secret, such as admin_password; keep a token in the build home",
        "`secret` lists the names of all, `secret NAME` shows one. `secret set NAME` asks for a "
        "value, or reads it from standard input, and keeps it encrypted in the build home: "
        "answers name it as {home: NAME}, in any deployment. `secret remove NAME` forgets it.",
    )
    secret.add_argument("words", metavar="[set|remove] NAME", nargs="*")
    secret.add_argument("--deployment", metavar="NAME", help="default: the only one")
    add("schema", _schema, "print the JSON Schema of answers files")
    return parser


def _wizard(arguments: argparse.Namespace) -> int:
    """Without a command: ask, show the plan, deploy."""
    if not sys.stdin.isatty():
        raise UsageError(
            "the wizard needs a terminal",
            cure="name a command (build-usb --help), such as: build-usb deploy ANSWERS",
        )
    from wizard.home.home import Home

    home = Home.locate(arguments.home)
    if arguments.plain:
        from wizard.tui.plain import Prompts

        Prompts(home, print).run()
    else:
        gc.disable()  # nothing of what starts the wizard is garbage; the wizard enables it again
        from wizard.tui import app

        app.run(home)
    return ExitCode.OK


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _home(arguments: argparse.Namespace) -> Home:
    from wizard.home.home import Home

    return Home.open(Home.locate(arguments.home))


def _load(path: Path) -> Answers:
    """Return answers that are right and that this version can carry out."""
    from wizard.answers import loader, support

    loaded = loader.load(path)
    support.refuse_unsupported(loaded, str(path))
    return loaded


def _validate(arguments: argparse.Namespace) -> int:
    loaded = _load(arguments.answers)
    _say(f"{arguments.answers}: right; {loaded.application.kind} in {loaded.mode} mode")
    return ExitCode.OK


def _schema(_arguments: argparse.Namespace) -> int:
    from wizard.answers.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return ExitCode.OK


def _plan(arguments: argparse.Namespace) -> int:
    from wizard.operations.session import compare, make_plan
    from wizard.plan import difference, render

    home, answers = _home(arguments), _load(arguments.answers)
    credentials = _credentials(arguments, home, [answers.provider.credentials])
    made = make_plan(home, answers, credentials)
    found = compare(home, answers, made, credentials)
    if arguments.json:
        changes = difference.to_plain(found) if found is not None else None
        print(json.dumps({**render.to_plain(made), "difference": changes}, indent=2))
    else:
        print(render.to_text(made), end="")
        if found is not None:
            print(f"\n{difference.to_text(found)}", end="")
    return ExitCode.OK


def _credentials(
    arguments: argparse.Namespace, home: Home, sources: Sequence[CredentialSource | None]
) -> SecretStore | None:
    """Return the home's own secrets if a source names one; asks for the passphrase only then."""
    from wizard.operations import session

    if not any(source and source.home for source in sources):
        return None
    return session.unlock(home, arguments.passphrase_file).credentials


def _check(arguments: argparse.Namespace) -> int:
    from wizard.events import silent
    from wizard.operations import checks

    answers = _load(arguments.answers)
    home = _home(arguments)
    credentials = _credentials(arguments, home, checks.sources(answers))
    found = checks.check(answers, home, credentials, silent)
    print(json.dumps(checks.to_plain(found), indent=2) if arguments.json else checks.to_text(found))
    return ExitCode.PROVIDER if found.bad else ExitCode.OK


def _deploy(arguments: argparse.Namespace) -> int:
    from wizard.console import display
    from wizard.operations import run, session
    from wizard.plan import difference, render

    answers = _load(arguments.answers)
    home = _home(arguments)
    opened = session.unlock(home, arguments.passphrase_file, create=True)
    plan = session.make_plan(home, answers, opened.credentials)
    if not arguments.json:
        _say(render.to_text(plan))
        found = session.compare(home, answers, plan, opened.credentials)
        if found is not None:
            _say(difference.to_text(found))
    _confirm_price(plan, agreed=arguments.yes)
    context, results = run.deploy(
        opened, answers, lambda steps: display(steps, json=arguments.json), _stop_on_signals()
    )
    if not arguments.json:
        _say(_report(context.state, home, results))
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
Administrator:  {state.admin_user}, at {state.url}wp-login.php
Password:       kept encrypted in {home.path}; show it with
                build-usb secret admin_password{option}
Next:           build-usb status{option}
                build-usb ssh web1{option}
                build-usb destroy{option}
"""


def _stop_on_signals() -> threading.Event:
    """SIGTERM stops a run as Ctrl-C does: no new step starts, those under way end safely."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    return stop


def _status(arguments: argparse.Namespace) -> int:
    from wizard.operations import session, status

    home = _home(arguments)
    deployment = session.choose(home, arguments.name)
    opened = session.unlock(home, arguments.passphrase_file)
    result = status.status(opened, deployment)
    print(
        json.dumps(status.to_plain(result)) if arguments.json else status.to_text(result).rstrip()
    )
    return ExitCode.OK if result.healthy else ExitCode.UNHEALTHY


def _ssh(arguments: argparse.Namespace) -> int:
    from wizard.home import keys
    from wizard.operations import session

    home = _home(arguments)
    deployment = session.choose(home, arguments.deployment)
    machines = session.read_state(deployment).machines
    if arguments.machine not in machines:
        raise UsageError(
            f"{deployment.name} has no machine called {arguments.machine}",
            cure=f"choose one of: {', '.join(sorted(machines)) or 'none is made yet'}",
        )
    opened = session.unlock(home, arguments.passphrase_file)
    key = keys.key_pair(opened.secrets(deployment), "ssh_key").private
    return keys.open_ssh(deployment, key, [arguments.machine, *arguments.words])


def _destroy(arguments: argparse.Namespace) -> int:
    from wizard.console import display
    from wizard.operations import run, session

    home = _home(arguments)
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
        _say(
            f"This deletes the machines, the bucket and the DNS records of {deployment.name} "
            f"({answers.domain.name}): the website and its database are gone for good."
        )
        if input(f"Type {deployment.name} to go on: ").strip() != deployment.name:
            raise InterruptedRunError("nothing was deleted")
    opened = session.unlock(home, arguments.passphrase_file)
    run.destroy(
        opened,
        deployment,
        answers,
        lambda steps: display(steps, json=arguments.json),
        _stop_on_signals(),
        last_backup=not arguments.without_last_backup,
        with_backups=arguments.with_backups,
    )
    if not arguments.json:
        _say(f"{deployment.name} is destroyed; nothing of it is left.")
    return ExitCode.OK


def _adopt(arguments: argparse.Namespace) -> int:
    from wizard.answers import loader
    from wizard.events import silent
    from wizard.operations.adopt import adopt

    home = _home(arguments)
    adopted = adopt(home, loader.load(arguments.answers), arguments.passphrase_file, silent)
    _say(f"{adopted.name} is known to {home.path} now; look at it with build-usb status")
    return ExitCode.OK


def _export(arguments: argparse.Namespace) -> int:
    from wizard.answers import loader
    from wizard.operations import session
    from wizard.stick import backup

    opened = session.unlock(_home(arguments), arguments.passphrase_file)
    data = backup.pack(opened.home, opened.vault)
    if arguments.storage is None:
        where = str(backup.to_folder(data, Path(arguments.place), backup.name()))
    else:
        answers = loader.load(arguments.storage)
        bucket = backup.bucket_of(answers, arguments.place, opened.home, opened.credentials)
        where = backup.to_bucket(data, bucket, backup.name())
    _say(f"{where}: {len(data)} bytes, encrypted; the passphrase of this home opens it")
    return ExitCode.OK


def _clone(arguments: argparse.Namespace) -> int:
    from wizard.home.home import Home
    from wizard.tui.desk import Desk
    from wizard.tui.plain_stick import copy

    copy(Desk(Home.locate(arguments.home)).stick, print, input, getpass.getpass)
    return ExitCode.OK


def _import(arguments: argparse.Namespace) -> int:
    from wizard.answers import loader
    from wizard.home import passphrase as passphrases
    from wizard.home.home import Home
    from wizard.stick import backup

    path = Home.locate(arguments.home)
    if arguments.storage is None:
        data = backup.from_path(Path(arguments.place))
    else:
        answers = loader.load(arguments.storage)
        data = backup.from_bucket(backup.bucket_of(answers, arguments.place, Home(path), None))
    home = backup.restore(data, passphrases.obtain(arguments.passphrase_file), path)
    _say(f"{home.path} is restored; it knows: {', '.join(home.deployments()) or 'no deployment'}")
    return ExitCode.OK


def _secret(arguments: argparse.Namespace) -> int:
    from getpass import getpass

    from wizard.operations import keep, session

    verb, name = keep.words_of(arguments.words)
    home = _home(arguments)
    if verb != "set":
        keep.refuse_empty(home, arguments.deployment)
    opened = session.unlock(home, arguments.passphrase_file, create=verb == "set")
    if verb == "set":
        asked = f"Value of {name} (not shown): "
        keep.put(opened, name, getpass(asked) if sys.stdin.isatty() else sys.stdin.read())
        _say(f"kept, encrypted, in {home.path}; answers name it as {{home: {name}}}")
    elif verb == "remove":
        keep.remove(opened, name)
    elif verb == "show":
        print(keep.show(opened, name, arguments.deployment).reveal())
    else:
        found = keep.listed(opened, arguments.deployment)
        width = max((len(known) for known, _ in found), default=0)
        for known, where in found:
            print(f"{known:<{width}}  {where}")
    return ExitCode.OK


def _backup(arguments: argparse.Namespace) -> int:
    from wizard.console import display
    from wizard.operations import run, session

    home = _home(arguments)
    deployment = session.choose(home, arguments.name)
    point = run.backup(
        session.unlock(home, arguments.passphrase_file),
        deployment,
        lambda steps: display(steps, json=arguments.json),
        _stop_on_signals(),
    )
    if not arguments.json:
        _say(f"{point} is kept; put it back with: build-usb restore {point}")
    return ExitCode.OK


def _points(arguments: argparse.Namespace) -> int:
    from wizard.operations import run, session

    home = _home(arguments)
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


def _restore(arguments: argparse.Namespace) -> int:
    from wizard.console import display
    from wizard.operations import run, session

    home = _home(arguments)
    deployment = session.choose(home, arguments.deployment)
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "restoring asks first and there is no terminal to ask on",
                cure="give --yes if you are sure",
            )
        _say(
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
        _stop_on_signals(),
    )
    if not arguments.json:
        _say(f"{deployment.name} is as it was at {arguments.point}.")
    return ExitCode.OK

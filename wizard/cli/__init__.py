"""The command line: `build-usb`. Standard output is data, standard error is for people.

Everything but argparse is imported by the command that needs it, so that `--help` is immediate.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from wizard import __version__
from wizard.cli import answers, backups, baselines, deployments, homes, promotion, scaling
from wizard.cli.common import say
from wizard.errors import BuildUsbError, ExitCode, UsageError

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
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except BuildUsbError as error:
        say(f"build-usb: {error}")
        return int(error.exit_code)
    except KeyboardInterrupt:
        say("\nbuild-usb: stopped; running the same command again continues")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # the reader of our output went away (`| head`); python would complain once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILURE)


def _common(default: str | None) -> argparse.ArgumentParser:
    """Return what may stand before the command and after it."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--home",
        metavar="DIR",
        default=default,
        help="the build home (default: $BUILD_USB_HOME, else ~/.local/share/build-usb)",
    )
    common.add_argument(
        "--passphrase-file",
        metavar="FILE",
        type=Path,
        default=default,
        help="read the build home's passphrase from FILE (mode 0600)",
    )
    return common


def _parser() -> argparse.ArgumentParser:
    # what is not given after the command leaves alone what was given before it
    common = _common(argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        prog="build-usb",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_common(None)],
    )
    parser.add_argument("--version", action="version", version=f"build-usb {__version__}")
    parser.add_argument(
        "--plain", action="store_true", help="without a command: the wizard as line prompts"
    )
    parser.set_defaults(command=_wizard)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        more: str = "",
        *also: str,
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            aliases=also,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}",
            parents=[common],
        )
        added.set_defaults(command=run)
        return added

    def takes_answers(added: argparse.ArgumentParser) -> None:
        added.add_argument("answers", metavar="ANSWERS", type=Path, help="an answers file (YAML)")

    def takes_name(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "name", metavar="NAME", nargs="?", help="the deployment (default: the only one)"
        )

    def as_json(added: argparse.ArgumentParser, what: str) -> None:
        added.add_argument("--json", action="store_true", help=f"print {what} as JSON")

    takes_answers(
        add(
            "validate",
            answers.validate,
            "check an answers file",
            "Shows every error at once, with file, line, what was found and what is allowed; "
            "then every setting that this version cannot carry out yet.",
        )
    )
    template = add(
        "template",
        answers.template,
        "print answers to begin with",
        "For one cloud and one DNS provider; what has to be filled in is marked.",
    )
    template.add_argument("provider", metavar="CLOUD", help="local, aws or digitalocean")
    template.add_argument("dns", metavar="DNS", help="cloudflare, route53, digitalocean or rfc2136")
    template.add_argument("--production", action="store_true", help="several webservers")
    check = add(
        "check",
        answers.check,
        "ask the clouds whether the answers can be carried out",
        "Whose account it is, which rights the tokens lack, whether the zone is there and the "
        "world is told to ask for it there, whether the mail server lets us in. Changes nothing; "
        f"ends with exit code {ExitCode.PROVIDER:d} when a deployment would fail.",
        "doctor",
    )
    takes_answers(check)
    as_json(check, "what was found")
    check.add_argument(
        "--test-mail",
        action="store_true",
        help="send a mail to who is told what happens (else only the login is tried)",
    )
    plan = add(
        "plan",
        answers.plan,
        "show what a deployment would make, and its price",
        "Machines, bucket, firewall rules, DNS records and the price per month; for a "
        "deployment that exists, what would change too. "
        "Asks nobody, creates nothing.",
    )
    takes_answers(plan)
    as_json(plan, "the plan")
    deploy = add(
        "deploy",
        deployments.deploy,
        "make the answers true",
        "Shows the plan, then makes it. Can be interrupted at any moment and run again: it "
        "continues, and changes nothing that is already as it should be.",
    )
    takes_answers(deploy)
    as_json(deploy, "one event a line")
    deploy.add_argument("--yes", action="store_true", help="do not ask before renting machines")
    status = add(
        "status",
        deployments.status,
        "ask machines, DNS and the site how they are",
        f"Ends with exit code {ExitCode.UNHEALTHY:d} when something is wrong.",
    )
    takes_name(status)
    as_json(status, "the status")
    ssh = add(
        "ssh",
        deployments.ssh,
        "open a shell on a machine, or run a command there",
        "Uses the deployment's own key and known hosts, never yours.",
    )
    ssh.add_argument("machine", metavar="MACHINE", help="for example web1")
    ssh.add_argument("words", metavar="WORD", nargs=argparse.REMAINDER, help="a command to run")
    ssh.add_argument("--deployment", metavar="NAME", help="default: the only one")
    let_in = add(
        "let-in",
        deployments.let_in,
        "let this computer in, at the address it has now",
        "For `ssh`, `status` and `dashboard` after a change of network; other commands see to it "
        "themselves. Machines look for a new address each minute.",
    )
    takes_name(let_in)
    as_json(let_in, "one event a line")
    destroy = add(
        "destroy",
        deployments.destroy,
        "take a deployment away, all of it",
        "Deletes DNS records, bucket, machines, firewall and network, proves that nothing is "
        "left, then forgets the deployment. Asks for its name to be typed.",
    )
    takes_name(destroy)
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
    scale = add(
        "scale",
        scaling.scale,
        "production mode: ask for a number of webservers",
        "Within the bounds of the answers; holds until the schedule's next change. `schedule` in "
        "place of a number: what the schedule says.",
    )
    scale.add_argument("number", metavar="NUMBER", help="how many webservers, or `schedule`")
    takes_name(scale)
    roll = add(
        "roll",
        scaling.roll,
        "production mode: upgrade or reboot one webserver after the other",
        "Each is out of DNS while it is worked on, and the next one's turn comes when it serves "
        "again; it stops at the first that does not. The autoscalers do it: this only asks.",
    )
    roll.add_argument(
        "work",
        metavar="WORK",
        choices=("upgrade", "reboot", "certificate"),
        help="upgrade (install Debian's upgrades, reboot if they ask for it), reboot, or "
        "certificate (order a new one)",
    )
    takes_name(roll)
    for name, run, text in (
        ("pause-scaling", scaling.pause, "production mode: add, replace and remove no webserver"),
        ("resume-scaling", scaling.resume, "production mode: go on after pause-scaling"),
    ):
        takes_name(add(name, run, text))
    dashboard = add(
        "dashboard",
        scaling.dashboard,
        "production mode: show the autoscalers' status page",
        "Prints its address on this computer and passes it on through SSH until Ctrl+C. Fleet, "
        "machines, schedule, backups and what happened; /status.json is the same for programs.",
    )
    takes_name(dashboard)
    dashboard.add_argument(
        "--port", type=int, default=0, help="port of this computer (default: any that is free)"
    )
    backup = add(
        "backup", backups.backup, "make a restore point now", "Database and files, encrypted."
    )
    takes_name(backup)
    backup.add_argument(
        "--check", action="store_true", help="restore it into a scratch place, to try it"
    )
    as_json(backup, "one event a line")
    points = add(
        "points",
        backups.points,
        "list the restore points, or what one of them holds",
    )
    points.add_argument("--point", metavar="POINT", help="show this one")
    points.add_argument(
        "--path", metavar="FOLDER", default="", help="and what this folder of its files holds"
    )
    takes_name(points)
    points.add_argument("--second", action="store_true", help="those of the second storage")
    as_json(points, "the restore points")
    restore = add(
        "restore",
        backups.restore,
        "put a restore point back in place of what runs",
        "Makes a restore point of what runs first, so that this can be undone. With --file one "
        "file alone; with --to it is written on this computer, and nothing else is changed.",
    )
    restore.add_argument("point", metavar="POINT", help="its name; see build-usb points")
    restore.add_argument(
        "--file",
        metavar="PATH",
        help="one file of it: below a folder that is kept, or from / on; database.sql is the dump",
    )
    restore.add_argument(
        "--second", action="store_true", help="from the second storage, when the first is lost"
    )
    restore.add_argument("--to", metavar="FILE", type=Path, help="where on this computer it goes")
    restore.add_argument("--deployment", metavar="NAME", help="default: the only one")
    restore.add_argument("--yes", action="store_true", help="do not ask")
    as_json(restore, "one event a line")
    baselines.parsers(
        add(
            "baseline",
            baselines.baseline,
            "a deployment as a cleaned, signed starting point for others",
            "`create` makes it of a running deployment. `inspect` names file, line and kind of "
            "keys, tokens, passwords, hashes, e-mail addresses, dumps and logs, and of every "
            "secret of the build home, and never shows what it found (exit code "
            f"{ExitCode.UNHEALTHY:d} when there is one). `publish` refuses what `inspect` names, "
            "then commits, signs and pushes. `key` prints the key that others deploy it by.",
        ),
        common,
    )
    promotion.options(
        add(
            "promote",
            promotion.promote,
            "lead a site from development to production",
            "Copies the development deployment, deploys the copy under a test domain and examines "
            "it, deploys production with it and examines that, then takes the test deployment "
            "away. Can be interrupted at any moment and run again: it goes on. Until production "
            "is deployed nothing that visitors see changes, and --undo takes all of it back.",
        )
    )
    carry = add(
        "carry",
        promotion.carry,
        "production mode: bring plugins, themes and translations of one deployment to another",
        "To all webservers of NAME, one after the other, each out of DNS meanwhile; those that are "
        "built later have them as well. If the site does not answer with them, those of before "
        "are put back. Its database stays as it is.",
    )
    carry.add_argument("source", metavar="FROM", help="the deployment that has them")
    carry.add_argument("name", metavar="NAME", help="the deployment in production mode")
    as_json(carry, "one event a line")
    adopt = add(
        "adopt",
        deployments.adopt,
        "take over a deployment whose build machine is lost",
        "Finds its encrypted state in its bucket. ANSWERS say where to look; the passphrase is "
        "that of the lost build home.",
    )
    takes_answers(adopt)
    for name, run, text, more in (
        (
            "export",
            homes.export,
            "keep an encrypted copy of the build home elsewhere",
            "In a folder, such as one on another stick, or in a bucket. The passphrase opens it.",
        ),
        (
            "import",
            homes.import_,
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
    add("clone", homes.clone, "copy this stick to a second one", "Asks which, and for its model.")
    secret = add(
        "secret",
        homes.secret,
        "show a secret, such as admin_password; keep a token in the build home",
        "`secret` lists the names of all, `secret NAME` shows one. `secret set NAME` asks for a "
        "value, or reads it from standard input, and keeps it encrypted in the build home: "
        "answers name it as {home: NAME}, in any deployment. `secret remove NAME` forgets it.",
    )
    secret.add_argument("words", metavar="[set|remove] NAME", nargs="*")
    secret.add_argument("--deployment", metavar="NAME", help="default: the only one")
    add("schema", answers.schema, "print the JSON Schema of answers files")
    return parser


def _wizard(arguments: argparse.Namespace) -> int:
    """Without a command: ask, show the plan, deploy."""
    if not sys.stdin.isatty():
        raise UsageError(
            "the wizard needs a terminal",
            cure="name a command (build-usb --help), such as: build-usb deploy ANSWERS",
        )
    if arguments.passphrase_file:
        raise UsageError(
            "the wizard asks for the passphrase itself",
            where="--passphrase-file",
            cure="leave it out, or name a command (build-usb --help)",
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

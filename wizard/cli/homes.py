"""Commands on the build home: its secrets, copies of it, copies of the stick."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wizard.cli.common import open_home, say
from wizard.errors import ExitCode

if TYPE_CHECKING:
    pass


def secret(arguments: argparse.Namespace) -> int:
    """Print, set or remove secrets."""
    from getpass import getpass

    from wizard.operations import keep, session

    verb, name = keep.words_of(arguments.words)
    home = open_home(arguments)
    if verb != "set":
        keep.refuse_empty(home, arguments.deployment)
    opened = session.unlock(home, arguments.passphrase_file, create=verb == "set")
    if verb == "set":
        asked = f"Value of {name} (not shown): "
        keep.put(opened, name, getpass(asked) if sys.stdin.isatty() else sys.stdin.read())
        say(f"kept, encrypted, in {home.path}; answers name it as {{home: {name}}}")
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


def export(arguments: argparse.Namespace) -> int:
    """Keep an encrypted copy of the home elsewhere."""
    from wizard.answers import loader
    from wizard.operations import session
    from wizard.stick import backup

    opened = session.unlock(open_home(arguments), arguments.passphrase_file)
    data = backup.pack(opened.home, opened.vault)
    if arguments.storage is None:
        where = str(backup.to_folder(data, Path(arguments.place), backup.name()))
    else:
        answers = loader.load(arguments.storage)
        bucket = backup.bucket_of(answers, arguments.place, opened.home, opened.credentials)
        where = backup.to_bucket(data, bucket, backup.name())
    say(f"{where}: {len(data)} bytes, encrypted; the passphrase of this home opens it")
    return ExitCode.OK


def import_(arguments: argparse.Namespace) -> int:
    """Make a home of such a copy."""
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
    say(f"{home.path} is restored; it knows: {', '.join(home.deployments()) or 'no deployment'}")
    return ExitCode.OK


def clone(arguments: argparse.Namespace) -> int:
    """Copy this stick to a second one."""
    from wizard.home.home import Home
    from wizard.tui.desk import Desk
    from wizard.tui.plain_stick import copy

    copy(Desk(Home.locate(arguments.home)).stick, print, input, getpass.getpass)
    return ExitCode.OK

"""Commands on baselines; so far: whether a folder may be published."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from wizard.cli.common import open_home, say
from wizard.errors import ExitCode, NotSupportedError

if TYPE_CHECKING:
    from wizard.secrets import Secret


def baseline(arguments: argparse.Namespace) -> int:
    """Look through a folder for what must not be published."""
    from wizard.baselines.scan import scan

    if arguments.verb != "inspect":
        raise NotSupportedError(
            f"this version cannot {arguments.verb} baselines",
            cure="`build-usb baseline inspect FOLDER` looks through a folder that you made",
        )
    found = scan(arguments.folder, _known(arguments))
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


def _known(arguments: argparse.Namespace) -> list[tuple[str, Secret]]:
    """Return every secret of the build home and its deployments; none if there is no home."""
    from wizard.home.home import Home
    from wizard.operations import session

    if not Home.locate(arguments.home).is_dir():
        return []
    home = open_home(arguments)
    if not home.has_identity():
        return []
    opened = session.unlock(home, arguments.passphrase_file)
    found = opened.credentials.items()
    for name in home.deployments():
        found += opened.secrets(home.deployment(name)).items()
    return found

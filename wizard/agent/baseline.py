"""A baseline put here once, when a deployment begins: SQL for the database machine, an archive of
files for the webserver. Both were checked and written anew on the build machine, and are here as
files, whose checksums the order says. A marker keeps them from being put over a site that lives.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from wizard.agent.content import read_marker, write_marker
from wizard.agent.errors import AgentError
from wizard.agent.mariadb import LONGEST, Server
from wizard.agent.state import Places

# no rights but to make tables of this one database, and rows in them
_RIGHTS = "CREATE, INSERT, REFERENCES, INDEX"
_FIRST = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0, unique_checks = 0"


def put(order: dict[str, Any], places: Places) -> dict[str, Any]:
    """Put this machine's part here, unless that was done or something lives here. `order`: `point`
    (what the baseline is called), `file`, `digest` (sha256), and `database`, or `folders` by name.
    Returns `state`: "done", "known" from before, or "kept"."""
    marker = places.state / "content.json"
    known = read_marker(marker)
    try:
        point, file = str(order["point"]), Path(order["file"])
        if known.get("loaded"):
            file.unlink(missing_ok=True)
            return {"state": "known", "point": known["point"]}
        if "database" in order:
            server = Server(str(order["database"]))
            if not known and server.tables(server.database):
                file.unlink(missing_ok=True)
                return {"state": "kept", "point": ""}
        _check(file, str(order["digest"]))
        write_marker(marker, {"point": point, "hosts": [], "loaded": False})
        if "database" in order:
            _load(server, file, places)
        else:
            _unpack(file, {str(k): str(v) for k, v in order["folders"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise AgentError(f"the order is not understood: {error!r}") from error
    write_marker(marker, {"point": point, "hosts": [], "loaded": True})
    file.unlink()
    return {"state": "done", "point": point}


def _check(file: Path, digest: str) -> None:
    with file.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != digest:
            raise AgentError(f"{file} did not arrive as it was sent")


def _load(server: Server, file: Path, places: Places) -> None:
    with server.staged() as name, server.account(name, _RIGHTS, places.runtime) as account:
        with file.open("rb") as statements:
            loaded = subprocess.run(
                ["mariadb", f"--defaults-file={account}", "--batch", "--local-infile=0",
                 f"--init-command={_FIRST}", name],
                stdin=statements,
                capture_output=True,
                timeout=LONGEST,
                check=False,
            )  # fmt: skip
        if loaded.returncode:
            why = loaded.stderr.decode(errors="replace").strip()[-300:]
            raise AgentError(f"the baseline's database cannot be loaded: {why}")


def _unpack(file: Path, folders: dict[str, str]) -> None:
    """Unpack as the webserver's user, who can write nothing but what the application may."""
    owner = pwd.getpwnam("www-data")
    for name, folder in folders.items():
        if not Path(folder).is_dir():
            Path(folder).mkdir(parents=True)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        options = ("--no-same-owner", "--no-same-permissions", "--strip-components=1")
        with file.open("rb") as archive:
            done = subprocess.run(
                ["tar", "--extract", "--file=-", f"--directory={folder}", *options, name],
                stdin=archive,
                capture_output=True,
                timeout=LONGEST,
                check=False,
                user="www-data",
                group="www-data",
                extra_groups=[],
                umask=0o022,
            )
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip()[-300:]
            raise AgentError(f"the baseline's files cannot be unpacked to {folder}: {why}")

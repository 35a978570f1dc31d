"""The content that a deployment begins with: a restore point of another one, put here once.

What opens the other repository comes on standard input and is in this machine's memory only for as
long as it is read. A marker says what was put here, so that it is never put over a site that lives.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from wizard.agent.backup import Backup, parse
from wizard.agent.errors import AgentError
from wizard.agent.points import DATABASE, points
from wizard.agent.restore import restore
from wizard.agent.state import Places, write_whole

_PREFIX = "content-"
_NAMED = 3  # files that are named of those which still hold an old name


def begin(order: dict[str, Any], places: Places) -> dict[str, Any]:
    """Put this machine's part of a point here, unless that was done or something lives here.

    `order`: `backup` (as in the configuration, without files), `password`, `credentials` (an AWS
    credentials file), `release` (digest of the one that it has to be of; empty: of any), and
    `point`, or `period` and `before` (ISO, empty: the newest). Returns point, hosts it answered to,
    `code` that it was made of, and `state`: "done" now, "known" from before, "kept", or "refused":
    it is of another release.
    """
    marker = places.state / "content.json"
    known = read_marker(marker)
    release = str(order.get("release", ""))
    if known.get("loaded"):
        known = {"code": "", **known}
        return {**known, "state": "known" if _fits(release, known) else "refused"}
    with _opened(order, places) as source:
        database = source.part == DATABASE
        if database and not known and source.server.tables(source.server.database):
            return {"state": "kept", "point": "", "hosts": []}
        point = choose(
            points(source.repository, source.parts),
            str(order.get("point", "")),
            str(order.get("period", "")),
            str(order.get("before", "")),
        )
        found = {"point": point["name"], "hosts": point["hosts"], "code": point["code"]}
        if not _fits(release, found):
            return {**found, "state": "refused"}
        write_marker(marker, {**found, "loaded": False})
        for folder in source.folders:
            # those of code are made when it is put there, which is later
            Path(folder).mkdir(mode=0o755, parents=True, exist_ok=True)
        restore(source, point["name"])
        naming = _naming(source.folders, point["hosts"])
        write_marker(marker, {**found, "loaded": True})
    return {"state": "done", **found, "naming": len(naming), "files": naming[:_NAMED]}


def choose(points: list[dict[str, Any]], name: str, period: str, before: str) -> dict[str, Any]:
    """Return the point of that name, or the newest whole one of a period that is not younger than
    `before`; AgentError that names what there is."""
    whole = [point for point in points if point["whole"]]
    latest = datetime.fromisoformat(before) if before else None
    fit = [
        point
        for point in whole
        if (point["name"] == name if name else point["period"] == period)
        and (latest is None or datetime.fromisoformat(point["time"]) <= latest)
    ]
    if not fit:
        there = ", ".join(str(point["name"]) for point in whole[-12:]) or "none"
        raise AgentError(
            f"there is no whole restore point {name or f'of the series {period}'}"
            f"{f' as old as {before}' if before else ''}; there are: {there}"
        )
    return fit[-1]


def _fits(release: str, found: dict[str, Any]) -> bool:
    """Say whether what was found is of the release, which its database would not fit else. A point
    that does not tell is taken."""
    made = str(found["code"])
    return not release or not made or release.startswith(made)


@contextlib.contextmanager
def _opened(order: dict[str, Any], places: Places) -> Iterator[Backup]:
    """Yield the repository of the order, its secrets in files of a folder in memory."""
    for left in places.runtime.glob(f"{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        values, password = order["backup"], str(order["password"])
        credentials = str(order["credentials"])
    except (KeyError, TypeError) as error:
        raise AgentError(f"the order is not understood: {error!r}") from error
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=places.runtime) as folder:
        files = {"password_file": password + "\n", "credentials_file": credentials}
        for name, text in files.items():
            write_whole(Path(folder, name), text.encode())
        paths = {name: str(Path(folder, name)) for name in files}
        found = parse({**values, **paths, "keep": {}})
        assert found is not None
        source = replace(found, repository=replace(found.repository, foreign=True))
        source.repository.require()
        yield source


def _naming(folders: tuple[str, ...], hosts: list[str]) -> list[str]:
    """Return the text files that hold one of the names; files are put here as they were."""
    if not folders or not hosts:
        return []
    words = [word for host in hosts for word in ("-e", host)]
    found = subprocess.run(
        ["grep", "-rlIFw", *words, "--", *folders],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return found.stdout.splitlines()


def read_marker(marker: Path) -> dict[str, Any]:
    """Return what a marker says; empty: there is none."""
    try:
        values = json.loads(marker.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def write_marker(marker: Path, values: dict[str, Any]) -> None:
    """Write a marker."""
    write_whole(marker, (json.dumps(values) + "\n").encode())

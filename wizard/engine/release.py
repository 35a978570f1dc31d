"""Fetches an application's own release to the build machine and looks at what it is.

The archive goes to machines as it is: what they check is the checksum that the answers name.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx

from wizard.answers.sections import Release
from wizard.engine.repository import LARGEST, Code, leads_out
from wizard.errors import AnswersError, TransientError, UsageError
from wizard.home.files import make_folder
from wizard.machines.job import CodeSettings

LARGEST_ARCHIVE = 512 * 1024**2
"""Bytes that an archive may have."""
_KEY = "application.source.release"
_SECONDS = 60.0
_REDIRECTS = 5


@dataclass(frozen=True)
class _Project:
    """Whose releases can be deployed: `file` in a release's folder says by `version` (a pattern
    with one group) which one it is; those that begin with one of `works` can be deployed. `folder`:
    an archive holds one folder with all of it; else what it holds is at its top."""

    name: str
    file: str
    version: str
    works: tuple[str, ...]
    packed: str
    folder: bool = True


_PROJECTS = {
    # 4.5 refuses Debian 13's PHP 8.4 (its admin/environment.xml); from 5.1 the folders are others
    "moodle": _Project(
        "Moodle", "version.php", r"^\$release\s*=\s*'([0-9][^' ]{0,30})", ("5.0",), ".tgz"
    ),
    # before 11.1 none knows PHP 8.4; what upgrades is written for the functions of these
    "drupal": _Project(
        "Drupal",
        "core/lib/Drupal.php",
        r"^\s*const VERSION = '([0-9][^' ]{0,30})'",
        ("11.2", "11.3"),
        ".tar.gz",
    ),
    # before 5.2 none knows PHP 8.4
    "joomla": _Project(
        "Joomla",
        "administrator/manifests/files/joomla.xml",
        r"<version>([0-9][^<]{0,30})</version>",
        ("5.4", "6.0", "6.1"),
        "Full_Package.tar.gz",
        folder=False,
    ),
}


def fetch(kind: str, source: Release, folder: Path) -> Code:
    """Return the release of that application, fetched into `folder` unless it is there; older
    archives go."""
    project = _PROJECTS[kind]
    make_folder(folder)
    archive = folder / f"{source.sha256}.tar"
    if not archive.exists() or _digest(archive) != source.sha256:
        new = folder / f".{source.sha256}.new"
        try:
            _bring(source, new)
            found = _digest(new)
            if found != source.sha256:
                raise AnswersError(
                    "the release is not the one that the answers name",
                    [f"{_KEY}.sha256: {source.url or source.file} has the checksum {found}"],
                    cure="compare with the checksum that the project publishes; do not use the "
                    "archive if that is another one",
                )
            settings = _looked_at(project, new, source.sha256)
            new.replace(archive)
        finally:
            new.unlink(missing_ok=True)
    else:
        settings = _looked_at(project, archive, source.sha256)
    for old in folder.glob("*.tar"):
        if old != archive:
            old.unlink()
    return Code(settings, archive)


def _bring(source: Release, new: Path) -> None:
    try:
        if source.file is not None:
            shutil.copyfile(source.file, new)
            return
        assert source.url is not None
        with new.open("wb") as file:
            size = 0
            for chunk in _download(source.url):
                size += len(chunk)
                if size > LARGEST_ARCHIVE:
                    raise UsageError(
                        f"the release is larger than {LARGEST_ARCHIVE} bytes",
                        where=f"{_KEY}.url",
                        cure="name the archive of a release",
                    )
                file.write(chunk)
    except OSError as error:
        raise UsageError(
            "the release cannot be read",
            where=f"{_KEY}.{'file' if source.file else 'url'}",
            why=str(error),
            cure="name an archive that is there",
        ) from error


def _download(url: str) -> Iterator[bytes]:
    trust = ssl.create_default_context()
    try:
        with httpx.Client(verify=trust, timeout=_SECONDS) as client:
            for _ in range(_REDIRECTS):
                with client.stream("GET", url) as answer:
                    if answer.next_request is None:
                        answer.raise_for_status()
                        yield from answer.iter_raw()
                        return
                    url = str(answer.next_request.url)
                if not url.startswith("https://"):
                    break
    except httpx.TransportError as error:
        raise TransientError(
            "the release cannot be fetched",
            where=f"{_KEY}.url",
            why=f"{url}: {error}",
            cure="run it again, or fetch the archive yourself and name it as file",
        ) from error
    except httpx.HTTPStatusError as error:
        raise UsageError(
            "the release cannot be fetched",
            where=f"{_KEY}.url",
            why=f"{url} answers {error.response.status_code}",
            cure="look for the address of the archive at the project's site",
        ) from error
    raise UsageError(
        "the release cannot be fetched",
        where=f"{_KEY}.url",
        why=f"it leads on to {url}",
        cure="name the address that the archive itself is at, over HTTPS",
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _looked_at(project: _Project, path: Path, digest: str) -> CodeSettings:
    """Return what machines are told of a release; AnswersError for all that is wrong."""
    problems: list[str] = []
    top = ""
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            tops = {PurePosixPath(m.name).parts[0] for m in members if PurePosixPath(m.name).parts}
            top = tops.pop() if project.folder and len(tops) == 1 else ""
            if project.folder and not top:
                problems.append("it does not hold one folder with everything in it")
            if sum(member.size for member in members) > LARGEST:
                problems.append(f"it is larger than {LARGEST} bytes")
            problems += [
                f"{m.name} is a link that leads out of it"
                for m in members
                if (m.issym() and leads_out(m.name, m.linkname)) or m.islnk() or m.isdev()
            ]
            names = {member.name.removeprefix("./"): member for member in members}
            found = names.get(str(PurePosixPath(top, project.file)))
            read = archive.extractfile(found) if found is not None and found.isfile() else None
            text = read.read(65536).decode(errors="replace") if read else ""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _wrong(project, [f"it is no archive that tar can read: {error}"]) from error
    version = re.search(project.version, text, re.MULTILINE)
    if not version:
        problems.append(f"it is no {project.name}: it has no {project.file} that names a release")
    elif not version[1].startswith(tuple(f"{branch}." for branch in project.works)):
        works = ", ".join(project.works)
        problems.append(f"it is {project.name} {version[1]}; works in this version: {works}")
    if problems or not version:
        raise _wrong(project, problems)
    return CodeSettings(
        digest=digest,
        commit=f"{project.name} {version[1]}",
        docroot="",
        writable=(),
        health_path="",
        cron="",
        settings=False,
        folder=top,
    )


def _wrong(project: _Project, problems: list[str]) -> AnswersError:
    return AnswersError(
        "the release is not what can be deployed",
        [f"{_KEY}: {problem}" for problem in problems],
        cure=f"name the {project.packed} of a release of {project.name}, as its project serves it",
    )

"""Fetches own code from a git repository to the build machine, and packs it for machines.

Machines get an archive and no credentials. git sees nothing of this computer's configuration; a
token reaches it through a credential helper that reads a file in a private folder.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from dataclasses import dataclass
from pathlib import Path

from wizard.answers import sections
from wizard.engine.git import credential_helper, scratch
from wizard.errors import AnswersError
from wizard.home.files import make_folder, write_atomic
from wizard.machines.job import CodeSettings
from wizard.secrets import Secret

LARGEST = 2 * 1024**3
"""Bytes that the unpacked code may have."""
COMPOSED = ".build-usb-composer"
"""The empty file at the top of an archive that composer is run for on machines."""


@dataclass(frozen=True)
class Code:
    """Own code on the build machine: what machines are told of it, its archive, and the text of the
    template of its settings file (empty: it has none)."""

    settings: CodeSettings
    archive: Path
    template: str = ""


def fetch(source: sections.Code, token: Secret | None, folder: Path, where: str) -> Code:
    """Fetch the revision that the answers name (at the key `where`) and pack it into `folder`;
    older archives go."""
    make_folder(folder)
    with credential_helper(token) as helper, scratch(helper, where=f"{where}.url") as git:
        wanted = source.revision or "HEAD"
        git("fetch", "--quiet", "--depth=1", "--no-tags", source.url, wanted)
        commit = git("rev-parse", "FETCH_HEAD^{commit}").strip()
        packed = Path(git.folder, "code.tar")
        # what composer has been run for is another release
        mark = (f"--add-virtual-file={COMPOSED}:",) if source.composer else ()
        git("archive", "--format=tar", f"--output={packed}", *mark, commit)
        template = _checked(source, packed, where)
        data = packed.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    archive = folder / f"{digest}.tar"
    for old in folder.glob("*.tar"):
        if old != archive:
            old.unlink()
    if not archive.exists():
        write_atomic(archive, data)
    settings = CodeSettings(
        digest=digest,
        commit=commit,
        docroot=source.docroot or "",
        writable=tuple(source.writable),
        health_path=source.health_path,
        cron=source.cron or "",
        settings=bool(template),
        prepare=source.prepare,
        composer=source.composer,
    )
    return Code(settings, archive, template)


def _checked(source: sections.Code, packed: Path, where: str) -> str:
    """Return the settings file's template; AnswersError for all that the repository lacks."""
    problems: list[str] = []
    template = ""
    with tarfile.open(packed) as archive:
        members = {member.name.rstrip("/"): member for member in archive.getmembers()}
        if sum(member.size for member in members.values()) > LARGEST:
            problems.append(f"it is larger than {LARGEST} bytes")
        problems += [
            f"{name} is a link that leads out of it"
            for name, member in members.items()
            if member.issym() and leads_out(name, member.linkname)
        ]
        if ".gitmodules" in members:
            problems.append("it has submodules, which are not fetched: put their files into it")
        if source.docroot and not (d := members.get(source.docroot.rstrip("/"))):
            problems.append(f"{where}.docroot: there is no folder {source.docroot}")
        elif source.docroot and d and not d.isdir():
            problems.append(f"{where}.docroot: {source.docroot} is no folder")
        for key, wanted in (("cron", source.cron), ("prepare", source.prepare)):
            if wanted and f"{key}.php" not in members:
                problems.append(f"{where}.{key}: there is no {key}.php at its top")
        if source.composer:
            problems += [
                f"{where}.composer: there is no {name} at its top: commit it"
                for name in ("composer.json", "composer.lock")
                if name not in members
            ]
        if source.environment_template:
            found = members.get(source.environment_template)
            read = archive.extractfile(found) if found is not None and found.isfile() else None
            if read is None:
                problems.append(
                    f"{where}.environment_template: there is no file {source.environment_template}"
                )
            else:
                template = read.read().decode(errors="replace")
    if problems:
        raise AnswersError(
            f"the repository {source.url} is not what the answers say",
            problems,
            cure="change the repository or the answers",
        )
    return template


def leads_out(name: str, target: str) -> bool:
    """Say whether a link at `name` leads out of the archive it is in."""
    there = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return target.startswith("/") or there == ".." or there.startswith("../")

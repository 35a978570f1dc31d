"""Searches a folder for what must not be published. Says where and of which kind, never what."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from wizard.baselines.kinds import DUMP, FORMS, MAIL, MAILBOX, NAMES, RESERVED, TOKENS
from wizard.baselines.manifest import DATABASE, MANIFEST
from wizard.errors import UsageError
from wizard.secrets import Secret

LARGEST = 64 * 1024**2
"""Bytes of a file; larger ones are not read and named instead."""
_SHORTEST = 6  # characters of a known secret that are worth looking for
_HEAD = 8192
# a value of a binary column
_BINARY = re.compile(rb"\b0x((?:[0-9A-Fa-f]{2})+)")


@dataclass(frozen=True, order=True)
class Finding:
    """What was found: the file below the folder, its line (0: the file itself), and the kind."""

    file: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}" if self.line else f"{self.file}: {self.kind}"


def scan(folder: Path, known: Iterable[tuple[str, Secret]] = ()) -> list[Finding]:
    """Return all that must not be published in a folder, sorted. `known`: secrets by name, looked
    for as they are, and as base64 and URLs write them. A repository's `.git` is not looked at. The
    tables of a baseline are no dumps; what is in them is looked at."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", cure="name the folder to look through")
    needles = list(_needles(known))
    tables = folder / DATABASE if (folder / MANIFEST).is_file() else None
    found: set[Finding] = set()
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git"]
        for name in files:
            path = Path(parent, name)
            shown = str(path.relative_to(folder))
            if Path(parent) != tables or path.suffix != ".sql":
                found |= {Finding(shown, 0, kind) for kind in _by_name(name)}
            if path.is_symlink():
                if not path.resolve().is_relative_to(folder.resolve()):
                    found.add(Finding(shown, 0, "link that leads out of the folder"))
            elif not path.is_file():
                found.add(Finding(shown, 0, "neither a file nor a folder"))
            elif path.stat().st_size > LARGEST:
                found.add(Finding(shown, 0, f"file of more than {LARGEST >> 20} MiB: not read"))
            else:
                found |= set(_in_file(path.read_bytes(), shown, needles))
    return sorted(found)


def scan_data(
    files: Iterable[tuple[str, bytes]], known: Iterable[tuple[str, Secret]] = ()
) -> list[Finding]:
    """Return what must not be published in the contents of files, by what they are shown as."""
    needles = list(_needles(known))
    return sorted({found for shown, data in files for found in _in_file(data, shown, needles)})


def _by_name(name: str) -> list[str]:
    return [kind for kind, form in NAMES.items() if form.search(name)]


def _needles(known: Iterable[tuple[str, Secret]]) -> Iterator[tuple[str, bytes]]:
    for name, secret in known:
        for line in _lines(secret.reveal().strip()):
            # the first and last lines of keys are all alike
            if len(line) < _SHORTEST or line.startswith("-----"):
                continue
            plain = line.encode()
            forms = {plain, base64.b64encode(plain).rstrip(b"="), quote(line, safe="").encode()}
            for form in forms:
                yield f"the secret {name}", form


def _lines(value: str) -> set[str]:
    """Return what of a secret is one by itself: its lines, and the texts of a JSON document."""
    try:
        document = json.loads(value)
    except ValueError:
        return {value, *value.splitlines()}
    if not isinstance(document, dict | list):
        return {value}
    texts = document.values() if isinstance(document, dict) else document
    return {line for text in texts if isinstance(text, str) for line in _lines(text)}


def _in_file(data: bytes, shown: str, needles: list[tuple[str, bytes]]) -> Iterator[Finding]:
    def line(at: int) -> int:
        return data.count(b"\n", 0, at) + 1

    for at, kind in _in_bytes(data, needles):
        yield Finding(shown, line(at), kind)
    if shown.endswith(".sql"):
        for match in _BINARY.finditer(data):
            for _, kind in _in_bytes(bytes.fromhex(match[1].decode()), needles):
                yield Finding(shown, line(match.start()), kind)


def _in_bytes(data: bytes, needles: list[tuple[str, bytes]]) -> Iterator[tuple[int, str]]:
    """Yield where what must not be published is, and its kind."""
    for kind, needle in needles:
        at = data.find(needle)
        if at >= 0:
            yield at, kind
    if DUMP.search(data[:_HEAD]):
        yield 0, "database dump"
    for kind, form in (*TOKENS.items(), *FORMS.items()):
        for match in form.finditer(data):
            if kind in TOKENS and data[max(0, match.start() - 1) : match.start()].isalnum():
                continue
            yield match.start(), kind
    if b"\0" not in data[:_HEAD]:
        for match in MAIL.finditer(data):
            before = data[max(0, match.start() - 65) : match.start()]
            if MAILBOX.search(before) and not RESERVED.search(match[0]):
                yield match.start(), "e-mail address"

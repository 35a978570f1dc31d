"""What a baseline may consist of. Pure; every problem is named with its path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from wizard.baselines import sql
from wizard.baselines.cleaning import PREFIX
from wizard.baselines.manifest import DATABASE, FILES, MANIFEST, Manifest, ManifestError, parse
from wizard.baselines.scan import LARGEST

FILE = "100644"
"""The one mode of a file in git that is let in: no link, no program, no other repository."""
MOST_FILES = 200_000
MOST_BYTES = 4 * 1024**3
_SHOWN = 20
_MODES = {"100755": "a program", "120000": "a link", "160000": "another repository"}
_TEXTS = ("README.md", "LICENSE", "LICENSE.txt", "LICENCE")
# settings of PHP or of a server, and programs that a webserver might run
_NEVER = re.compile(r"(?i)^(?:\.user\.ini|php\.ini|\.git.*|wp-config\.php|.*\.(?:so|phar))$")
_PHP_NAME = re.compile(r"(?i)\.(?:php\d?|phtml|pht|phps|phar|cgi|pl|py|sh)(?:\.|$)")
_PHP = re.compile(rb"(?i)<\?php\b")
_SHORT_PHP = b"<?="


class Entry(NamedTuple):
    """A file as git has it; `size` in bytes."""

    path: str
    mode: str
    size: int


class Refused(ValueError):
    """A baseline that must not be deployed; `problems` name all that is wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = len(problems) - _SHOWN
        shown = [*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        super().__init__("\n".join(shown))
        self.problems = list(problems)


def check(
    entries: Sequence[Entry],
    read: Callable[[str], bytes],
    folders: Sequence[str],
    uploads: str,
) -> Manifest:
    """Return the manifest of a baseline that may be deployed. Refused: it may not. `folders` are
    the names of the application's writable folders, `uploads` the path (below `files`) of what
    visitors send, empty: there is none."""
    problems = list(_by_name(entries, folders))
    if len(entries) > MOST_FILES:
        problems.append(f"it has more than {MOST_FILES} files")
    if sum(entry.size for entry in entries) > MOST_BYTES:
        problems.append(f"it is larger than {MOST_BYTES >> 20} MiB")
    if problems:
        raise Refused(problems)
    paths = [entry.path for entry in entries]
    if MANIFEST not in paths:
        raise Refused([f"{MANIFEST}: there is none: this is no baseline"])
    try:
        manifest = parse(read(MANIFEST))
    except ManifestError as error:
        raise Refused([f"{MANIFEST}: {error}"]) from error
    problems += _by_sum(paths, read, manifest)
    for path in paths:
        if problems:
            break
        if path.startswith(f"{DATABASE}/"):
            problems += _by_grammar(path, read(path))
        elif uploads and path.startswith(f"{FILES}/{uploads}/"):
            problems += _by_content(path, read(path))
    if problems:
        raise Refused(problems)
    return manifest


def _by_name(entries: Iterable[Entry], folders: Sequence[str]) -> Iterator[str]:
    for path, mode, size in entries:
        shown = ascii(path)[1:-1]
        if mode != FILE:
            yield f"{shown}: {_MODES.get(mode, f'mode {mode}')}"
        if size > LARGEST:
            yield f"{shown}: larger than {LARGEST >> 20} MiB"
        parts = PurePosixPath(path).parts
        if (
            path.startswith("/")
            or "/".join(parts) != path
            or {"..", "."} & set(parts)
            or re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", path)
            or len(path.encode(errors="replace")) > 1000
            or any(len(part.encode(errors="replace")) > 255 for part in parts)
        ):
            yield f"{shown}: not a path that it may have"
            continue
        if any(_NEVER.match(part) for part in parts):
            yield f"{shown}: not a file that it may have"
        if not _belongs(parts, folders):
            yield f"{shown}: belongs to no folder of the application"


def _belongs(parts: Sequence[str], folders: Sequence[str]) -> bool:
    if len(parts) == 1:
        return parts[0] in (MANIFEST, *_TEXTS)
    if parts[0] == DATABASE:
        return len(parts) == 2 and re.fullmatch(r"[A-Za-z0-9_$]+\.sql", parts[1]) is not None
    return parts[0] == FILES and len(parts) > 2 and parts[1] in folders


def _by_sum(paths: Sequence[str], read: Callable[[str], bytes], manifest: Manifest) -> list[str]:
    there = set(paths) - {MANIFEST}
    problems = [f"{path}: is not there" for path in sorted(set(manifest.files) - there)]
    for path in sorted(there):
        wanted = manifest.files.get(path)
        if wanted is None:
            problems.append(f"{path}: is not in {MANIFEST}")
        elif hashlib.sha256(read(path)).hexdigest() != wanted:
            problems.append(f"{path}: is not what {MANIFEST} says")
    return problems


def _by_grammar(path: str, data: bytes) -> Iterator[str]:
    table = PurePosixPath(path).stem
    try:
        text = data.decode()
        found = list(sql.read(text, PREFIX))
    except UnicodeDecodeError:
        yield f"{path}: is no UTF-8"
    except sql.SqlError as error:
        yield f"{path}: {error}"
    else:
        first = [isinstance(statement, sql.Table) for statement in found]
        if first[:1] != [True] or any(first[1:]):
            yield f"{path}: is not one table and its rows"
        if {statement.table for statement in found} - {table}:
            yield f"{path}: is about another table"


def _by_content(path: str, data: bytes) -> Iterator[str]:
    if _PHP_NAME.search(PurePosixPath(path).name):
        yield f"{path}: a program among uploads"
    # three bytes stand in any film by chance
    elif _PHP.search(data) or (_SHORT_PHP in data and is_text(data)):
        yield f"{path}: PHP among uploads"


def leaves_out(path: str, uploads: str) -> bool:
    """Say whether a file (below `files`) could be in no baseline, whatever is in it."""
    parts = PurePosixPath(path).parts
    among = bool(uploads) and path.startswith(f"{uploads}/")
    return any(_NEVER.match(part) for part in parts) or (
        among and _PHP_NAME.search(parts[-1]) is not None
    )


def is_text(data: bytes) -> bool:
    """Say whether a file is text."""
    if b"\0" in data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

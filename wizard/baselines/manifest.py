"""The manifest of a baseline: what it is of, and the checksum of every file. `baseline.json`.

baseline.json                 the manifest
database/TABLE.sql            a table's structure and rows, a row a line
files/FOLDER/…                a writable folder of the application
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1
MANIFEST = "baseline.json"
DATABASE = "database"
FILES = "files"
NONE = "none"
_WORDS = ("application", "application_version", "engine", "licence", "price", "author", "created",
          "build_usb")  # fmt: skip


class ManifestError(ValueError):
    """A manifest that cannot be used; says why."""


@dataclass(frozen=True)
class Manifest:
    """`application` and `engine` as answers name them (NONE: it has no database); `price` is a note
    for people, empty: none; `created` is a day (ISO); `files` are the SHA-256 of all other files by
    path."""

    application: str
    application_version: str
    engine: str
    licence: str
    price: str
    author: str
    created: str
    build_usb: str
    files: Mapping[str, str] = field(default_factory=dict)

    def written(self) -> bytes:
        """Return the document."""
        values = {"format": FORMAT, **asdict(self), "files": dict(sorted(self.files.items()))}
        return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()


def parse(data: bytes) -> Manifest:
    """Return the manifest in a document. ManifestError."""
    try:
        values: dict[str, Any] = json.loads(data)
        written_in = values.pop("format")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ManifestError(f"it is no manifest: {error}") from error
    if written_in != FORMAT:
        raise ManifestError(f"format {written_in!r} is not {FORMAT}, which this version reads")
    if set(values) != {*_WORDS, "files"}:
        odd = sorted(set(values) ^ {*_WORDS, "files"})
        raise ManifestError(f"it lacks, or has too much: {', '.join(map(ascii, odd))}")
    if not all(isinstance(values[word], str) and len(values[word]) < 1000 for word in _WORDS):
        raise ManifestError("what says what it is of is not text")
    files = values["files"]
    if not isinstance(files, dict) or not all(isinstance(sum_, str) for sum_ in files.values()):
        raise ManifestError("its files are no list of checksums")
    return Manifest(**values)

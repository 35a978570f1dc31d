"""Unfinished answers: a plain nested dict, addressed by key path, kept between two starts.

Nothing is checked here and nothing is lost here: what does not apply now (credentials of a cloud
while the rehearsal is chosen) stays, and is left out when answers are made of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wizard.errors import HomeError
from wizard.home.files import explained, read_bytes, write_atomic

_HEAD = "# Unfinished answers of the wizard; it offers to continue with them. Holds no secret.\n"


@dataclass
class Draft:
    """Answers as far as they are known; `step` is where the person is, `promotes` the development
    deployment whose production they are to be, if any.

    `texts` holds what was typed but is not right (it may be a secret in a wrong place): in memory
    only. `changed` says whether something is not on disk yet.
    """

    values: dict[str, Any] = field(default_factory=dict)
    step: str = ""
    promotes: str = ""
    texts: dict[str, str] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at a key such as `database.port`."""
        place: Any = self.values
        for part in key.split("."):
            if not isinstance(place, dict) or part not in place:
                return default
            place = place[part]
        return place

    def has(self, key: str) -> bool:
        """Say whether there is a value at a key."""
        missing = object()
        return self.get(key, missing) is not missing

    def set(self, key: str, value: Any) -> None:
        """Put a value at a key; None takes it away, with sections that hold nothing then."""
        if value is None:
            _take(self.values, key.split("."))
            return
        place = self.values
        *sections, last = key.split(".")
        for part in sections:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        place[last] = value

    def without(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return a copy of the values in which `keys` are not."""
        values = copy.deepcopy(self.values)
        for key in keys:
            _take(values, key.split("."))
        return values

    def save(self, path: Path) -> None:
        """Write the draft, whole or not at all. Raises HomeError."""
        import yaml

        told = {"step": self.step, "promotes": self.promotes, "answers": self.values}
        text = yaml.safe_dump(
            {key: value for key, value in told.items() if key != "promotes" or value},
            sort_keys=False,
            allow_unicode=True,
        )
        write_atomic(path, (_HEAD + text).encode())

    @classmethod
    def load(cls, path: Path) -> Draft | None:
        """Return the draft at `path`, None if there is none. Raises HomeError when damaged."""
        data = read_bytes(path)
        if data is None:
            return None
        from wizard.answers.document import read

        document = read(data)
        content = document.data
        if (
            document.problems
            or not isinstance(content, dict)
            or not isinstance(content.get("answers"), dict)
        ):
            raise HomeError(
                "the unfinished answers are damaged",
                where=str(path),
                why="; ".join(f"line {line}: {p}" for line, p in document.problems),
                cure="begin anew, or repair the file: it is YAML",
            )
        step, promotes = (str(content.get(key) or "") for key in ("step", "promotes"))
        return cls(content["answers"], step, promotes)

    @staticmethod
    def discard(path: Path) -> None:
        """Forget the draft at `path`; one that is not there is no error. Raises HomeError."""
        with explained(path, "remove"):
            path.unlink(missing_ok=True)


def _take(values: dict[str, Any], parts: list[str]) -> None:
    first, *rest = parts
    if rest:
        inner = values.get(first)
        if isinstance(inner, dict):
            _take(inner, rest)
            if not inner:
                del values[first]
    else:
        values.pop(first, None)

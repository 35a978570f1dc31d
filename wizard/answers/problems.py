"""One problem in the answers, and how found values are shown. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""A key path: `("domain", "aliases", 0)`; written `domain.aliases[0]`."""

_LONGEST = 60


@dataclass(frozen=True)
class Problem:
    """What was `found` at key `path` and what is `allowed` there.

    `depends` are further keys that a problem between sections comes from.
    """

    path: KeyPath
    found: str
    allowed: str
    depends: tuple[KeyPath, ...] = ()

    @property
    def key(self) -> str:
        """Return the key path as people write it; empty for the whole document."""
        return written(self.path)

    def __str__(self) -> str:
        text = f"found {self.found}; allowed: {self.allowed}"
        return f"{self.key}: {text}" if self.path else text


def written(path: KeyPath) -> str:
    """Return a key path as people write it: `scaling.schedule[0].at`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{printable(part)}" if text else printable(part)
    return text


def parsed(key: str) -> KeyPath:
    """Return the path of a written key; both `schedule[0].at` and `schedule.0.at` are read."""
    parts = key.replace("[", ".").replace("]", "").split(".") if key else []
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def printable(text: str) -> str:
    """Return `text` with what a terminal would not show as a character escaped, and cut short."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def shown(value: object) -> str:
    """Return a found value for an error message: short, printable, in the words of YAML."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{printable(value)}'"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return printable(str(value))

"""Reads YAML strictly: plain data, and the line of every key, or every problem found.

Of YAML only mappings, lists and scalars are read. Duplicate keys, anchors, aliases, tags, several
documents and deep nesting are refused. Plain scalars are text, but for null, true, false and
decimal whole numbers: `no`, `08:30` and `2026-01-31` mean what they look like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from wizard.answers.problems import KeyPath, Problem, printable, shown

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_VALUES = 10_000
"""Far more than any deployment needs; keeps the time to refuse a hostile file short."""

_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# no leading zeros (a revision such as 0123456 is text), and no more digits than any setting has
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Document:
    """A file's `data`, the line of each key path (from 1), and what is wrong with its form."""

    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, Problem]] = field(default_factory=list)

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or of the nearest thing around it; 1 at the top."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(content: str | bytes) -> Document:
    """Return the one YAML document in `content`; never raises, problems are in the result."""
    document = Document()
    text = _text(content, document)
    if text is None:
        return document
    loader = _Loader(text, document)
    try:
        node = loader.get_single_node()
        if node is not None:
            document.data = loader.plain(node, ())
    except _Enough:
        pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at column {mark.column + 1}" if mark else ""
        context = f"{error.context}: " if error.context else ""
        found = printable(f"{context}{error.problem}") + where
        if isinstance(error, yaml.composer.ComposerError):
            found = "a second document after ---"
        elif "\\t" in repr(error.problem):
            found = f"a tab{where}"
        _refuse(document, mark.line + 1 if mark else 1, (), found, _FORM)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # PyYAML itself stumbles over some escapes and version numbers with a ValueError
        _refuse(document, loader.line + 1, (), printable(str(error).partition("\n")[0]), _FORM)
    return document


_FORM = "one YAML document of `key: value` lines, indented by blanks"


class _Enough(Exception):
    """Nothing more is read: what follows could only repeat or hide what is wrong."""


def _refuse(document: Document, line: int, path: KeyPath, found: str, allowed: str) -> None:
    document.problems.append((line, Problem(path, found, allowed)))


def _text(content: str | bytes, document: Document) -> str | None:
    size = len(content)
    if size > MAX_BYTES:
        _refuse(document, 1, (), "more than 1 MiB", "a file of at most 1 MiB")
        return None
    if isinstance(content, bytes):
        try:
            content = content.decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            byte = error.object[error.start]
            _refuse(document, line, (), f"the byte 0x{byte:02x}, not UTF-8", "text in UTF-8")
            return None
    # an editor's byte order mark says nothing
    content = content.removeprefix("\ufeff")
    control = _CONTROL.search(content)
    if control:
        line = content.count("\n", 0, control.start()) + 1
        found = f"the character U+{ord(control.group()):04X}"
        _refuse(document, line, (), found, "characters that can be printed")
        return None
    return content


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with a composer that refuses, and a plain-data constructor."""

    def __init__(self, text: str, document: Document) -> None:
        super().__init__(text)
        self._document = document
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose the next node unless it is an alias, tagged, anchored or too deep."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        line = (event.start_mark.line if event.start_mark else 0) + 1
        self._values += 1
        if self._depth >= MAX_DEPTH or self._values > MAX_VALUES:
            found, allowed = (
                (f"more than {MAX_VALUES} values", "fewer")
                if self._values > MAX_VALUES
                else (f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels of nesting")
            )
            _refuse(self._document, line, (), found, allowed)
            raise _Enough
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            name = printable(event.anchor or "")
            _refuse(self._document, line, (), f"the alias *{name}", "the value itself, repeated")
            return yaml.ScalarNode("", "", event.start_mark, event.end_mark)  # type: ignore[arg-type]
        for kind in ("anchor", "tag"):
            value = getattr(event, kind)
            if value is not None:
                mark = "&" if kind == "anchor" else ""
                found = f"the {kind} {mark}{printable(value)}"
                _refuse(self._document, line, (), found, f"values without {kind}s")
                setattr(event, kind, None)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def plain(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return a node as plain data and note the lines of what is in it."""
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, i)) for i, item in enumerate(node.value)]
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return scalar(node.value) if plain else node.value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                _refuse(self._document, line, path, "a list or mapping as a key", "text as keys")
                continue
            below = (*path, key.value)
            if key.value in result:
                first = self._document.lines[below]
                found = f"the key {shown(key.value)} again (first in line {first})"
                _refuse(self._document, line, below, found, "each key once")
                continue
            self._document.lines[below] = line
            result[key.value] = self.plain(value, below)
        return result

    # PyYAML would look up tags of implicit scalars; what they are is decided in `scalar`
    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """Give every node a tag that is never looked at."""
        return "tag:yaml.org,2002:str"


def scalar(text: str) -> str | int | bool | None:
    """Return what a plain scalar means: null, true, false, a whole number, else the text."""
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    return int(text) if _INT.fullmatch(text) else text

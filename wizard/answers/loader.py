"""Answers from and to YAML. Whatever is wrong with a file is one AnswersError with every problem.

Each problem reads `rehearsal.yaml:14: database.port: found 'abc'; allowed: a whole number from 1
to 65535`.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from wizard.answers import keys
from wizard.answers.consistency import inconsistencies
from wizard.answers.document import MAX_BYTES, Document, read
from wizard.answers.migrations import MIGRATIONS, migrate, oldest
from wizard.answers.model import FIELDS_ONLY, VERSION, Answers
from wizard.answers.problems import KeyPath, Problem, shown, written
from wizard.errors import AnswersError

# stands in for required keys that are missing or wrong, so that the rest can still be compared
_STAND_IN: dict[str, Any] = {
    "version": VERSION,
    "name": "stand-in",
    "provider": {"name": "local", "region": "here"},
    "application": {
        "kind": "wordpress",
        "title": "stand-in",
        "admin": {"user": "stand-in", "email": "stand-in@example.org"},
    },
    "domain": {"name": "example.org"},
    "dns": {"provider": "rfc2136", "zone": "example.org"},
}
# more lines than a person reads; a hostile file has thousands
_MOST = 100
_SOURCES = "{environment: VARIABLE}, {file: /path} or {home: name}"


def load(path: Path) -> Answers:
    """Return the answers in the file at `path`; AnswersError with all that is wrong."""
    try:
        with path.open("rb") as file:
            # one byte more than allowed is enough to know; a pipe is read like a file
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AnswersError(
            "the answers file cannot be read",
            [reason],
            where=str(path),
            cure="name a file that exists and may be read; `build-usb schema` describes its form",
        ) from None
    return loads(content, str(path))


def loads(text: str | bytes, source: str) -> Answers:
    """Return the answers in `text`; `source` names it in errors. AnswersError as `load`."""
    document = read(text)
    if document.data is None and not document.problems:
        document.problems.append((1, Problem((), "nothing in the file", keys.allowed(()))))
    elif not isinstance(document.data, dict) and not document.problems:
        top = Problem((), shown(document.data), keys.allowed(()))
        document.problems.append((document.line(()), top))
    if not isinstance(document.data, dict):
        raise _error(document, [], source)
    _refuse_version(document, source)
    answers, found = examine(migrate(document.data, VERSION, MIGRATIONS))
    if found or document.problems or answers is None:
        raise _error(document, found, source)
    return answers


def examine(data: dict[str, Any]) -> tuple[Answers | None, list[Problem]]:
    """Return plain data of the present version as answers, and everything wrong with it.

    Answers are None when a value is wrong or missing; what can be compared is compared even then.
    """
    found = _secrets(data, ())
    answers: Answers | None = None
    try:
        answers = Answers.model_validate(data, context={FIELDS_ONLY: True})
    except ValidationError as error:
        hidden = [problem.path for problem in found]
        found += [p for p in keys.problems(error) if not _within(p.path, hidden)]
    together, unknown = (answers, []) if answers else _mended(data, [p.path for p in found])
    if together:
        found += [
            problem
            for problem in inconsistencies(together)
            if not any(_touch(key, unknown) for key in (problem.path, *problem.depends))
        ]
    return answers, found


def dumps(answers: Answers) -> str:
    """Return the answers as YAML, keys in the document's order, defaults left out."""
    values = answers.model_dump(mode="json", exclude_defaults=True)
    # whoever reads the file wants to see these even where they are the default
    values = {"version": VERSION, "name": answers.name, "mode": answers.mode, **values}
    return yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )


def save(answers: Answers, path: Path) -> None:
    """Write the answers to `path`, whole or not at all; AnswersError if that cannot be done."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(dumps(answers))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AnswersError(
            "the answers cannot be written",
            [reason],
            where=str(path),
            cure="choose a folder that may be written to and has room; nothing was changed",
        ) from None


class _Dumper(yaml.SafeDumper):
    """Block style, lists indented below their key, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never write anchors: they are refused on reading."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """Indent lists below their key."""
        return super().increase_indent(flow, False)


def _refuse_version(document: Document, source: str) -> None:
    version = document.data.get("version")
    if type(version) is int and oldest(VERSION, MIGRATIONS) <= version <= VERSION:
        return
    found = shown(version) if "version" in document.data else "nothing"
    cure = f"start the file with `version: {VERSION}`"
    what = "the answers do not say which version of the document they are"
    if type(version) is int:
        what = f"the answers are of version {version}, which this program does not know"
        cure = f"this program reads version {VERSION}"
        if version > VERSION:
            cure += "; use a newer build-usb, the one that wrote the file or later"
    problem = Problem(("version",), found, f"the number {VERSION}")
    line = document.line(("version",))
    name = Path(source).name or source
    raise AnswersError(what, [f"{name}:{line}: {problem}"], where=source, cure=cure)


def _secrets(value: Any, path: KeyPath) -> list[Problem]:
    """Return a problem for each literal value whose key says that it is a secret."""
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in _secrets(item, (*path, key))]
    if isinstance(value, list):
        return [p for index, item in enumerate(value) for p in _secrets(item, (*path, index))]
    if value is None or isinstance(value, bool) or not keys.is_secret(path):
        return []
    place = keys.source_for(path)
    where = f" at {written(place)}" if place and place != path else ""
    return [
        Problem(
            path,
            "a secret (not shown)",
            f"where the secret comes from{where}: {_SOURCES}" if place else "no secret here at all",
        )
    ]


def _mended(data: dict[str, Any], broken: list[KeyPath]) -> tuple[Answers | None, list[KeyPath]]:
    """Return answers in which what is broken has its default or a stand-in, so that the rest can
    be compared (None if hopeless), and the keys that hence mean nothing."""
    data = copy.deepcopy(data)
    unknown = list(broken)
    for _ in range(4):
        unknown += [_mend(data, path) for path in broken]
        try:
            return Answers.model_validate(data, context={FIELDS_ONLY: True}), unknown
        except ValidationError as error:
            broken = [problem.path for problem in keys.problems(error)]
    return None, unknown


def _mend(data: dict[str, Any], path: KeyPath) -> KeyPath:
    """Take a broken key out of `data`, in place; return the key that was changed."""
    # a list with a broken item goes as a whole
    named = [str(part) for part in itertools.takewhile(lambda part: isinstance(part, str), path)]
    place, stand_in = data, _STAND_IN
    for part in named[:-1]:
        stand_in = stand_in.get(part, {})
        place = place.get(part, {})
        # a value stands for a section or a section for a value: that is a problem of its own
        if not isinstance(place, dict) or not isinstance(stand_in, dict):
            return path
    key = named[-1]
    was_there = key in place
    place.pop(key, None)
    if key in stand_in:
        place[key] = copy.deepcopy(stand_in[key])
    elif not was_there and len(named) > 1:
        # a required key of an optional section is missing: do without the section
        return _mend(data, tuple(named[:-1]))
    return tuple(named)


def _within(path: KeyPath, others: list[KeyPath]) -> bool:
    return any(path[: len(other)] == other for other in others)


def _touch(path: KeyPath, broken: list[KeyPath]) -> bool:
    return any(path[: len(b)] == b or b[: len(path)] == path for b in broken)


def _error(document: Document, found: list[Problem], source: str) -> AnswersError:
    lines = document.problems + [(_line(document, problem), problem) for problem in found]
    lines.sort(key=lambda item: item[0])
    name = Path(source).name or source
    texts = list(dict.fromkeys(f"{name}:{line}: {problem}" for line, problem in lines))
    shown_texts = texts[:_MOST]
    if len(texts) > _MOST:
        shown_texts.append(f"… and {len(texts) - _MOST} more")
    return AnswersError(
        "the answers have a problem"
        if len(texts) == 1
        else f"the answers have {len(texts)} problems",
        shown_texts,
        where=source,
        cure="change the lines named; `build-usb schema` and docs/answers.md describe every key",
    )


def _line(document: Document, problem: Problem) -> int:
    # a problem with a default is shown where the key is that it does not fit
    places = (problem.path, *problem.depends)
    written_there = [place for place in places if place[:1] in document.lines]
    return document.line(written_there[0] if written_there else ())

"""One key path of the answers: what it means, what it allows, whether a value fits it.

The loader, the schema, the reference for people and every screen ask here, so that they agree.
"""

from __future__ import annotations

import types
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from wizard.answers.fields import HINT, Allowed
from wizard.answers.model import Answers
from wizard.answers.problems import KeyPath, Problem, parsed, shown
from wizard.answers.sections import CredentialSource

_SECRET_WORDS = ("password", "passwd", "passphrase", "secret", "token", "credential", "private_key")
_SECRET_NAMES = ("key", "pass", "api_key", "apikey", "access_key", "accesskey")


def members(annotation: Any) -> list[Any]:
    """Return the kinds of an annotation, `Annotated` opened and unions taken apart."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in members(part)]
    return [annotation]


def models(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that an annotation allows (several where a `kind` chooses)."""
    return [m for m in members(annotation) if isinstance(m, type) and issubclass(m, BaseModel)]


def field_at(path: KeyPath) -> FieldInfo | None:
    """Return the field of a key path, list positions ignored; None for an unknown one."""
    sections: list[type[BaseModel]] = [Answers]
    field: FieldInfo | None = None
    for part in path:
        if isinstance(part, int):
            # an element of a list: a section if the list holds sections, else a plain value
            item = _item(field.annotation) if field else None
            if item is None:
                return None
            field = FieldInfo.from_annotation(item)
        else:
            found = [s.model_fields[part] for s in sections if part in s.model_fields]
            if not found:
                return None
            field = found[0]
        sections = models(field.annotation)
    return field


def _item(annotation: Any) -> Any:
    for kind in members(annotation):
        if get_origin(kind) is tuple:
            return get_args(kind)[0]
    return None


def known(path: KeyPath) -> list[str]:
    """Return the keys that the mapping at `path` may have; none if it is not a mapping."""
    return list(dict.fromkeys(key for section in _sections(path) for key in section.model_fields))


def allowed(path: KeyPath) -> str:
    """Return what is allowed at a key path, in words."""
    if not path:
        return _mapping(Answers)
    field = field_at(path)
    return describe(field.annotation, field.metadata) if field else "no such key"


def meaning(key: str) -> str:
    """Return the help text of a key such as `database.port`; KeyError for an unknown key."""
    field = field_at(parsed(key))
    if field is None:
        raise KeyError(key)
    return field.description or ""


def describe(annotation: Any, metadata: list[Any]) -> str:
    """Return what a type allows, in words."""
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        return describe(annotation, [*inner, *metadata])
    words = [item.text for item in metadata if isinstance(item, Allowed)]
    if words and type(None) not in get_args(annotation):
        return words[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return _union(annotation, metadata)
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return "a list, each item: " + describe(get_args(annotation)[0], [])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _mapping(annotation)
    if annotation is bool:
        return "true or false"
    if annotation is int:
        low = next(item.ge for item in metadata if isinstance(item, Ge))
        high = next(item.le for item in metadata if isinstance(item, Le))
        return f"a whole number from {low} to {high}"
    raise AssertionError(f"no words for {annotation}: give its type an Allowed")


def _union(annotation: Any, metadata: list[Any]) -> str:
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if all(models(part) for part in parts) and len(parts) > 1:
        return "a mapping with kind: " + ", ".join(map(_kind, models(annotation)))
    text = ", or ".join(describe(part, metadata if len(parts) == 1 else []) for part in parts)
    return text + ", or null" if type(None) in get_args(annotation) else text


def _mapping(section: type[BaseModel]) -> str:
    return "a mapping of " + ", ".join(section.model_fields)


def is_secret(path: KeyPath) -> bool:
    """Say whether a key's name says that a secret is meant (its value is then never shown)."""
    name = str(next((part for part in reversed(path) if isinstance(part, str)), "")).lower()
    return name in _SECRET_NAMES or any(word in name for word in _SECRET_WORDS)


def near_secret(path: KeyPath) -> bool:
    """Say whether a value may be a secret in a wrong place: at a secret's key or below it."""
    return any(is_secret(path[: end + 1]) for end in range(len(path)))


def source_for(path: KeyPath) -> KeyPath:
    """Return the key, at or beside or above a misplaced secret, that says where a secret comes
    from; empty if there is none."""
    for end in range(len(path), 0, -1):
        beside = [(*path[: end - 1], key) for key in known(path[: end - 1])]
        for place in [path[:end], *(beside if end > 1 else [])]:
            if CredentialSource in _sections(place):
                return place
    return ()


def suggestion(path: KeyPath, keys: list[str]) -> str:
    """Return what an unknown key at `path`, where `keys` are known, may have been meant as."""
    key = str(path[-1])
    near = get_close_matches(key, keys, n=1)
    if not near and len(path) <= 2:
        # right key, wrong place
        near = [f"{part}.{key}" for part in Answers.model_fields if key in known((part,))]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def problems(error: ValidationError, root: KeyPath = ()) -> list[Problem]:
    """Return pydantic's errors in our words; `root` is put before every key path."""
    return [_problem(details, root) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, root: KeyPath) -> Problem:
    path, beside = _resolve(root, details["loc"])
    value = details["input"]
    match details["type"]:
        case "missing":
            return Problem(path, "nothing", allowed(path))
        case "extra_forbidden":
            found = f"an unknown key {shown(path[-1])}{suggestion(path, beside)}"
            return Problem(path, found, ", ".join(beside))
        case "union_tag_invalid" | "union_tag_not_found":
            kind = value.get("kind") if isinstance(value, dict) else None
            kinds = ", ".join(_kind(section) for section in _sections(path))
            path = (*path, "kind")
            return Problem(path, "nothing" if kind is None else shown(kind), kinds)
    found = "a value (not shown)" if _hidden(path, value) else shown(value)
    text = allowed(path)
    if details["type"] == HINT:
        return Problem(path, found, f"{text} ({details['ctx']['hint']})")
    if isinstance(value, bool | int) and _is_text(path):
        return Problem(path, found, f"{text}; put it in quotes to make it text")
    return Problem(path, found, text)


def _hidden(path: KeyPath, value: object) -> bool:
    if isinstance(value, str) and "@" in value.partition("://")[2]:
        return True  # https://user:password@host
    return near_secret(path) and not isinstance(value, bool | dict | list | type(None))


def _is_text(path: KeyPath) -> bool:
    field = field_at(path)
    return field is not None and str in members(field.annotation)


def _resolve(root: KeyPath, loc: KeyPath) -> tuple[KeyPath, list[str]]:
    """Return a location of pydantic's as a key path, and the keys known beside its last part.

    Where a `kind` chooses a section, pydantic's location has that kind as a part of its own.
    """
    path, sections = root, _sections(root)
    keys: list[str] = []
    for part in loc:
        if len(sections) > 1:
            sections = [s for s in sections if _kind(s) == part]
            continue
        keys = [key for section in sections for key in section.model_fields]
        path = (*path, part)
        sections = _sections(path)
    return path, keys


def _sections(path: KeyPath) -> list[type[BaseModel]]:
    field = field_at(path)
    return models(field.annotation) if field else [] if path else [Answers]


def _kind(section: type[BaseModel]) -> str:
    return str(get_args(section.model_fields["kind"].annotation)[0])


def check_field(key: str, value: object) -> list[str]:
    """Return what is wrong with a value for a key such as `database.port`; empty if nothing.

    The same checks as for a file, without what must fit together between keys. KeyError for an
    unknown key.
    """
    path = parsed(key)
    field = field_at(path)
    if field is None:
        raise KeyError(key)
    try:
        _alone(path).model_validate({"value": value})
    except ValidationError as error:
        found = []
        for details in error.errors(include_url=False):
            details["loc"] = details["loc"][1:]
            found.append(str(_problem(details, path)))
        return found
    return []


@cache
def _alone(path: KeyPath) -> type[BaseModel]:
    field = cast(FieldInfo, field_at(path))
    # strict like a section; a field of a section cannot be validated on its own by pydantic
    return create_model(
        "Alone",
        __config__=ConfigDict(strict=True, hide_input_in_errors=True),
        value=(cast(Any, field.annotation), field),
    )

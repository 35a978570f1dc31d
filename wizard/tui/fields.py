"""A question as both front ends ask it, derived from the answers model; text <-> value.

Lists of plain values are written with commas; lists of sections as `;`-separated entries of words
(what is required first), such as `08:30 5 mon,tue; 17:30 3`; where a secret comes from as
`home:name`, `file:/path` or `environment:VARIABLE`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from wizard.answers import keys, support
from wizard.answers.fields import TLS_AUTHORITIES
from wizard.answers.problems import KeyPath, parsed
from wizard.answers.sections import CredentialSource
from wizard.paths import on_stick
from wizard.providers.base import ProviderFacts
from wizard.tui.credentials import TYPED
from wizard.tui.flow import Ask

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_MODES = {"development": "one machine each", "production": "scales"}
_UNSET = {
    "machines.sizes": "the provider's default",
    "object_storage": "the provider's own",
    "backups.second_storage": "none",
    "baselines": "none",
}


class Kind(StrEnum):
    """How a question is answered."""

    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    LIST = "list"
    RECORDS = "records"
    SOURCE = "source"


@dataclass(frozen=True)
class Option:
    """One possible value; `not_yet` says why this version cannot do it, or is empty."""

    value: Any
    label: str
    not_yet: str = ""


@dataclass(frozen=True)
class Field:
    """One question: what it is called, means, allows, and what it is when left alone."""

    ask: Ask
    kind: Kind
    meaning: str
    allowed: str
    required: bool
    default: Any
    options: tuple[Option, ...] = ()
    records: type[BaseModel] | None = None

    @property
    def key(self) -> str:
        """Return the key of the answers."""
        return self.ask.key

    @property
    def label(self) -> str:
        """Return what it is called on screens."""
        return self.ask.label

    def is_default(self, value: Any) -> bool:
        """Say whether a value need not be written down."""
        same = tuple(value) if isinstance(value, list) else value
        return not self.required and same == self.default

    @property
    def begins_with(self) -> str:
        """Return what an empty answer means, for people."""
        if self.required:
            return ""
        if self.default is None or self.default == ():
            return "may be empty"
        return f"empty: {to_text(self, self.default)}"


def field(ask: Ask, facts: ProviderFacts | None = None) -> Field:
    """Return the question of `ask`; `facts` are the provider's, None while they are unknown."""
    path = parsed(ask.key)
    found = keys.field_at(path)
    if found is None:
        raise KeyError(ask.key)
    kinds = [kind for kind in keys.members(found.annotation) if kind is not type(None)]
    optional = type(None) in keys.members(found.annotation)
    required = found.default is PydanticUndefined and not optional
    default = None if found.default is PydanticUndefined else found.default
    options = _options(ask, path, found, facts, optional=optional)
    item = next((get_args(k)[0] for k in kinds if get_origin(k) is tuple), None)
    records = next(iter(keys.models(item)), None) if item else None
    if options:
        kind = Kind.CHOICE
    elif records:
        kind = Kind.RECORDS
    elif item:
        kind = Kind.LIST
    elif CredentialSource in kinds:
        kind = Kind.SOURCE
    else:
        kind = Kind.NUMBER if int in kinds else Kind.TEXT
    return Field(
        ask,
        kind,
        keys.meaning(ask.key),
        _allowed(kind, ask.key, records),
        required,
        default,
        options,
        records,
    )


def _allowed(kind: Kind, key: str, records: type[BaseModel] | None) -> str:
    text = keys.allowed(parsed(key)).removesuffix(", or null")
    if kind is Kind.SOURCE:
        return f"{TYPED}; or home:name, file:/path, environment:VARIABLE"
    if records:
        words = " ".join(name.upper() for name in _order(records))
        return f"entries of {words}, separated by ;"
    return text.replace("a list, each item:", "separated by commas, each:")


def _options(
    ask: Ask, path: KeyPath, found: FieldInfo, facts: ProviderFacts | None, *, optional: bool
) -> tuple[Option, ...]:
    values: list[tuple[Any, str]] = []
    if ask.facts == "regions" and facts:
        values = [(region, region) for region in facts.regions]
    elif ask.facts == "sizes" and facts:
        values = [
            (
                size.name,
                f"{size.name}: {size.vcpus} vCPU, {size.memory} MiB, {size.disk} GiB disk, "
                f"{size.monthly_price:.2f} {facts.currency} a month",
            )
            for size in facts.sizes
        ]
    elif bool in keys.members(found.annotation):
        values = [(False, "no"), (True, "yes")]
        if found.default is True:
            values.reverse()
    else:
        literals = _kinds(path) or [
            value
            for kind in keys.members(found.annotation)
            if get_origin(kind) is Literal
            for value in get_args(kind)
        ]
        said = _MODES if ask.key == "mode" else {}
        values = [(v, f"{v}: {said[v]}" if v in said else str(v)) for v in literals]
    if values and optional:
        section = ask.key.rpartition(".")[0]
        values.insert(0, (None, f"({_UNSET.get(section, 'not chosen')})"))
    return tuple(Option(value, label, not_yet(ask.key, value)) for value, label in values)


def _kinds(path: KeyPath) -> list[str]:
    """Return what may be chosen where a `kind` chooses the section."""
    if path[-1] != "kind" or len(path) < 2:
        return []
    above = keys.field_at(path[:-1])
    sections = keys.models(above.annotation) if above else []
    if len(sections) < 2:
        return []
    return [str(get_args(s.model_fields["kind"].annotation)[0]) for s in sections]


def not_yet(key: str, value: Any) -> str:
    """Return why this version cannot do with this value, empty if it can."""
    if key in support.WORKING and value is not None:
        works = support.working(key, stick=on_stick())
        if value not in works:
            where = "on the stick" if value in support.WORKING[key] else "in this version"
            return f"works {where}: {', '.join(_word(v) for v in works)}"
    if key == "tls.authority" and value in TLS_AUTHORITIES and value not in support.AUTHORITIES:
        return f"works in this version: {', '.join(support.AUTHORITIES)}, an https:// URL"
    if any(key == name or key.startswith(f"{name}.") for name in support.NOT_YET):
        found = keys.field_at(parsed(key))
        default = found.default if found else None
        if value is not None and value != default and not (value == [] and default == ()):
            return "works in this version: leave it as it is"
    return ""


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


# -- text and values -----------------------------------------------------------------------------


def to_text(field: Field, value: Any) -> str:
    """Return a value as it is written in an input; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return _word(value)
    if field.kind is Kind.SOURCE and isinstance(value, dict):
        return ", ".join(f"{name}:{item}" for name, item in value.items() if item)
    if isinstance(value, list | tuple):
        if field.records:
            return "; ".join(_record_text(field.records, item) for item in value)
        return ", ".join(map(str, value))
    return str(value)


def to_value(field: Field, text: str) -> Any:
    """Return what a text means, None for nothing; what cannot be read stays text, for `problems`
    to refuse."""
    text = text.strip()
    if not text:
        return None
    match field.kind:
        case Kind.NUMBER:
            return int(text) if _NUMBER.fullmatch(text) else text
        case Kind.CHOICE:
            chosen = [o.value for o in field.options if text in (_word(o.value), o.label)]
            return chosen[0] if chosen else text
        case Kind.LIST:
            # the blank inside of a public key parts nothing
            return [item for item in re.split(r"\s*,\s*|(?<!ssh-ed25519)\s+", text) if item]
        case Kind.RECORDS:
            assert field.records
            entries = [entry for entry in text.split(";") if entry.strip()]
            return [_record(field.records, entry.split()) for entry in entries]
        case Kind.SOURCE:
            name, colon, item = text.partition(":")
            return {name.strip(): item.strip()} if colon else text
    return text


def problems(field: Field, value: Any) -> list[str]:
    """Return what is wrong with a value, by the same checks as for a file; empty if nothing."""
    if value is None:
        return [f"needed: {field.allowed}"] if field.required else []
    if field.kind is Kind.CHOICE:
        if any(option.value == value for option in field.options):
            return []
        words = ", ".join(_word(o.value) for o in field.options if o.value is not None)
        return [f"found '{to_text(field, value)}'; allowed: {words}"]
    if field.kind is Kind.SOURCE and not isinstance(value, dict):
        # whatever was typed may be the secret itself: never repeated
        return [f"found a value (not shown); allowed: {field.allowed}"]
    return [text.removeprefix(f"{field.key}: ") for text in keys.check_field(field.key, value)]


def _order(section: type[BaseModel]) -> list[str]:
    fields = section.model_fields
    return sorted(fields, key=lambda name: not fields[name].is_required())


def _record(section: type[BaseModel], words: list[str]) -> Any:
    names = _order(section)
    if len(words) > len(names):
        return " ".join(words)
    result: dict[str, Any] = {}
    for name, word in zip(names, words, strict=False):
        kinds = keys.members(section.model_fields[name].annotation)
        if any(get_origin(kind) is tuple for kind in kinds):
            result[name] = [item for item in word.split(",") if item]
        else:
            result[name] = int(word) if int in kinds and _NUMBER.fullmatch(word) else word
    return {name: result[name] for name in section.model_fields if name in result}


def _record_text(section: type[BaseModel], record: Any) -> str:
    if not isinstance(record, dict):
        return str(record)
    values = [record.get(name) for name in _order(section)]
    return " ".join(
        ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for value in values
        if value is not None
    )

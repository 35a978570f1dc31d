"""The reference of the answers for people, docs/answers.md, written from the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from wizard.answers import keys, support
from wizard.answers.model import VERSION, Answers
from wizard.answers.problems import shown

_HEAD = f"""\
# Answers

The answers are all that you decide about a deployment, in one YAML file. They never hold a secret:
where one is needed they say where it comes from. So the file may be mailed, committed and replayed.

`build-usb validate FILE` checks a file and names every problem in it with its line;
`build-usb schema` prints its JSON Schema for editors. `config-templates/answers/` has examples:
`rehearsal.yaml` works with this version. The others are valid, and `validate` says by name what
of them this version cannot do yet.

Keys without a default are required. Of YAML the file may use mappings, lists and plain values; no
anchors, aliases or tags, and no key twice. Only `true` and `false` are yes and no; `no`, `08:30`
and `2026-01-31` are text. The file is UTF-8, at most 1 MiB. The present version is {VERSION}.

**Secrets.** Where a secret is needed, exactly one of `environment: VARIABLE` (an environment
variable), `file: /path` (a file holding nothing else) or `home: name` (kept encrypted in the build
home) says where it comes from.

*Not yet* marks what is understood but refused by this version (exit code 4); where only some values
work, those are given.
"""


def reference() -> str:
    """Return docs/answers.md."""
    parts = [_HEAD, "## The document\n", _table(Answers, "")]
    for name, field in Answers.model_fields.items():
        for section in keys.models(field.annotation):
            parts += _section(section, name, 2)
    return "\n".join(parts)


def _section(section: type[BaseModel], key: str, level: int) -> Iterator[str]:
    kind = section.model_fields.get("kind")
    several = len(keys.models(_field(key).annotation)) > 1
    title = f"`{key}`" + (
        f" with `kind: {get_args(kind.annotation)[0]}`" if several and kind else ""
    )
    yield f"{'#' * level} {title}\n"
    yield _one_line(section.__doc__ or "") + "\n"
    yield _table(section, f"{key}.", not several or _kind_works(section, key))
    for name, field in section.model_fields.items():
        for below in _below(field):
            yield from _section(below, f"{key}.{name}", min(level + 1, 4))


def _below(field: FieldInfo) -> list[type[BaseModel]]:
    kinds = keys.members(field.annotation)
    items = [keys.models(get_args(kind)[0]) for kind in kinds if get_origin(kind) is tuple]
    sections = keys.models(field.annotation) + [section for group in items for section in group]
    # the one form of a secret's source is told once, at the top
    return [section for section in sections if section.__name__ != "CredentialSource"]


def _field(key: str) -> FieldInfo:
    field = keys.field_at(tuple(key.split(".")))
    assert field is not None, key
    return field


def _kind_works(section: type[BaseModel], key: str) -> bool:
    kinds = get_args(section.model_fields["kind"].annotation)
    return bool(set(kinds) & set(support.WORKING.get(f"{key}.kind", kinds)))


def _table(section: type[BaseModel], prefix: str, works: bool = True) -> str:
    lines = ["| key | what it is | allowed | default | this version |", "|---|---|---|---|---|"]
    for name, field in section.model_fields.items():
        this_version = _works(prefix + name) if works else "not yet"
        lines.append(
            f"| `{name}` | {_cell(field.description or '')} "
            f"| {_cell(_allowed(field))} | {_default(field)} | {this_version} |"
        )
    return "\n".join(lines) + "\n"


def _allowed(field: FieldInfo) -> str:
    if _below(field):
        return "see below"
    return keys.describe(field.annotation, field.metadata)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        changed = value.model_dump(exclude_defaults=True)
        return _cell(", ".join(f"`{k}: {v}`" for k, v in changed.items()) or "its defaults")
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _works(key: str) -> str:
    if any(key == name or key.startswith(f"{name}.") for name in support.NOT_YET):
        return "not yet"
    if key in support.WITH_ONE_WEBSERVER:
        return "with a cloud, one webserver"
    if key in support.WITH_AWS:
        return "with `aws`"
    if key in support.WITHOUT_AWS:
        return "not with `aws`"
    if key in support.WITH_CLOUDS:
        return "with a cloud"
    if key.split(".")[0] in support.WITH_PROXIES:
        return "with `dns.proxied`"
    if key in support.WORKING:
        return ", ".join(f"`{v if isinstance(v, str) else shown(v)}`" for v in support.WORKING[key])
    if key == "tls.authority":
        return "not yet: zerossl"
    return "yes"


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())

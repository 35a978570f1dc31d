"""Renders config-templates/ for machines. Must not import: pyinfra, gevent."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wizard.machines.places import AGENT_PATH
from wizard.paths import config_templates


def php(text: str) -> str:
    """Return `text` as a PHP string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@cache
def _environment() -> Environment:
    # the files are configuration, not HTML: escaping would corrupt them. A missing value is an
    # error here rather than an empty setting on a machine.
    environment = Environment(
        loader=FileSystemLoader(config_templates()),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701
    )
    environment.globals["agent"] = AGENT_PATH
    environment.filters["php"] = php
    environment.filters["php_list"] = lambda values: f"[{', '.join(php(v) for v in values)}]"
    return environment


def render(name: str, /, **values: Any) -> str:
    """Return the template `name` (path below config-templates/) with `values` filled in."""
    return _environment().get_template(name).render(**values)

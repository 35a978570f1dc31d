"""Where the files shipped with the program are: config-templates and hooks.

In a checkout they are beside the package; in an installed wheel inside it. Leaf module.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _data(name: str) -> Path:
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def config_templates() -> Path:
    """Return the folder of templates for files written on machines, and of ready-made answers."""
    return _data("config-templates")


def hooks() -> Path:
    """Return the folder of shell hooks run at named moments."""
    return _data("hooks")

"""Where the files shipped with the program are: config-templates and hooks; whether it runs on the
stick.

In a checkout they are beside the package; in an installed wheel inside it. Leaf module.
"""

from __future__ import annotations

import os
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


def on_stick() -> bool:
    """Say whether this is the image's own program (image/product/usr/lib/build-usb/environment)."""
    return bool(os.environ.get("BUILD_USB_STICK"))


def requirements() -> Path:
    """Return the list of all packages with their checksums."""
    installed = _PACKAGE / "_data" / "requirements.txt"
    return installed if installed.is_file() else _PACKAGE.parent / "requirements.txt"

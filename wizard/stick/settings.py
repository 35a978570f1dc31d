"""Keyboard, time zone and language of the stick: what may be chosen, remembered, applied.

Remembered in `settings.json` on the ANSWERS partition, in the clear: the keyboard is needed before
a passphrase can be typed, and none of it is secret. Applied by the helper; nothing of the
computer's own disks or clock is touched.
"""

from __future__ import annotations

import json
import re
import zoneinfo
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from wizard.errors import UsageError
from wizard.home.files import explained, read_bytes, write_json
from wizard.stick import commands

FILE = "settings.json"
LAYOUTS = Path("/usr/share/X11/xkb/rules/base.lst")
_ZONES = Path("/usr/share/zoneinfo")
_LARGEST = 4096  # bytes of a remembered file; anybody may have written it
_UTC = "Etc/UTC"


@dataclass(frozen=True)
class Settings:
    """How the stick talks with its person. `keyboard` is `de` or, with a variant, `de neo`."""

    keyboard: str = "us"
    timezone: str = _UTC
    language: str = "C.UTF-8"


# -- what there is -------------------------------------------------------------------------------


@cache
def keyboards(rules: Path = LAYOUTS) -> dict[str, str]:
    """Return the layouts and their variants with what they are called; without a list of them,
    the one that the kernel begins with."""
    try:
        text = rules.read_text()
    except OSError:
        return {"us": "English (US)"}
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("!"):
            section = line[1:].strip()
            continue
        name, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if section == "layout" and name:
            found[name] = rest
        elif section == "variant" and ":" in rest:
            layout, _, title = rest.partition(":")
            found[f"{layout} {name}"] = title.strip()
    return found


@cache
def timezones() -> frozenset[str]:
    """Return the names of time zones."""
    return frozenset(zoneinfo.available_timezones()) - {"localtime"}


@cache
def languages() -> tuple[str, ...]:
    """Return the locales of this system that use UTF-8."""
    printed = commands.attempt("locale", "-a").stdout.decode(errors="replace").split()
    names = {re.sub(r"\.utf-?8$", ".UTF-8", name, flags=re.I) for name in printed}
    return tuple(sorted(name for name in names if name.endswith(".UTF-8")))


def problems(settings: Settings) -> dict[str, str]:
    """Return what is wrong with settings by their names, with what may have been meant."""
    known: dict[str, Iterable[str]] = {
        "keyboard": keyboards(),
        "timezone": timezones(),
        "language": languages(),
    }
    found = {}
    for name, value in asdict(settings).items():
        choices = list(known[name])
        if value not in choices:
            found[name] = f"'{value}' is not known; {_meant(value, choices)}"
    return found


def _meant(text: str, choices: list[str]) -> str:
    folded = text.casefold().replace(" ", "_")
    near = [choice for choice in choices if folded and folded in choice.casefold()]
    if not near:
        near = get_close_matches(text, choices, 5, 0.5)
    return f"do you mean {', '.join(sorted(near)[:6])}?" if near else "F1 or ? shows examples"


# -- remembered ----------------------------------------------------------------------------------


def remembered(folder: Path) -> Settings | None:
    """Return the settings kept in `folder`, None if there are none or they are not valid."""
    path = folder / FILE
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        values = json.loads(read_bytes(path) or b"")
        settings = Settings(**{name: str(values[name]) for name in asdict(Settings())})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if problems(settings) else settings


def remember(folder: Path, settings: Settings) -> None:
    """Keep settings for the next start, whole or not at all. Raises HomeError."""
    write_json(folder / FILE, asdict(settings))


# -- applied, by root ----------------------------------------------------------------------------


def refuse_unknown(settings: Settings) -> None:
    """Raise UsageError with all that is not known."""
    found = problems(settings)
    if found:
        raise UsageError(
            "settings that this stick does not have",
            why="\n".join(f"{name}: {text}" for name, text in found.items()),
            cure="choose others",
        )


def apply_keyboard(keyboard: str, root: Path = Path("/")) -> None:
    """Use a layout on all consoles, and for what is started from now on. Raises HomeError."""
    if not LAYOUTS.exists():
        return  # there is nothing to choose from
    layout, _, variant = keyboard.partition(" ")
    words = ["ckbcomp", "-layout", layout, *(("-variant", variant) if variant else ())]
    table = commands.run(*words, doing="make the keyboard's table")
    commands.run("loadkeys", "-", given=table, doing="load the keyboard's table")
    _write(
        root / "etc/default/keyboard",
        f'XKBMODEL="pc105"\nXKBLAYOUT="{layout}"\nXKBVARIANT="{variant}"\nXKBOPTIONS=""\n'
        'BACKSPACE="guess"\n',
    )


def apply_timezone(timezone: str, root: Path = Path("/")) -> None:
    """Use a time zone for what is started from now on; no clock is set. Raises HomeError."""
    link, new = root / "etc/localtime", root / "etc/.localtime.new"
    with explained(link, "set the time zone in"):
        new.unlink(missing_ok=True)
        new.symlink_to(_ZONES / timezone)
        new.replace(link)
    _write(root / "etc/timezone", f"{timezone}\n")


def apply_language(language: str, root: Path = Path("/")) -> None:
    """Use a locale for what is started from now on. Raises HomeError."""
    _write(root / "etc/locale.conf", f"LANG={language}\n")


def _write(path: Path, text: str) -> None:
    with explained(path, "write"):
        path.write_text(text)
        path.chmod(0o644)

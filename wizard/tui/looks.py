"""Two looks, one code: a theme of our own where colours are free, and the console's own 16.

The console look draws only glyphs that console fonts have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from textual.scrollbar import ScrollBarRender
from textual.theme import Theme

VARIABLE = "BUILD_USB_LOOK"
"""`console` or `modern` in the environment overrides what TERM suggests."""
FOLDER = Path(__file__).parent

# the Linux console, and what people set on serial lines
_POOR = (
    "linux",
    "ansi",
    "dumb",
    "vt52",
    "vt100",
    "vt102",
    "vt220",
    "vt320",
    "cons25",
    "screen.linux",
)

GLYPHS = frozenset(
    [chr(code) for code in (*range(0x20, 0x7F), *range(0xA0, 0x100)) if code != 0xAD]
    + list("─│┌┐└┘├┤┬┴┼═║╔╗╚╝█░▒■▲▼▶◀←↑→↓•")
)
"""What the console look may draw: what Debian's Lat15 fonts and the kernel's own font share."""

THEME = Theme(
    name="build-usb",
    primary="#5aa9ff",
    secondary="#7f8cff",
    accent="#ffb454",
    warning="#ffb454",
    error="#ff7384",
    success="#5bd69b",
    foreground="#dce6f5",
    background="#0d1320",
    surface="#151e30",
    panel="#1d2940",
    dark=True,
    variables={
        "block-cursor-background": "#5aa9ff",
        "block-cursor-foreground": "#0d1320",
        "block-cursor-text-style": "bold",
        "footer-key-foreground": "#ffb454",
        "input-selection-background": "#5aa9ff 35%",
    },
)


def is_console(environ: Mapping[str, str]) -> bool:
    """Say whether the terminal shows only few colours and glyphs."""
    wanted = environ.get(VARIABLE)
    if wanted in ("console", "modern"):
        return wanted == "console"
    term = environ.get("TERM", "dumb")
    return term in _POOR or term.startswith("linux")


def style_sheets(*, console: bool) -> list[str | Path]:
    """Return the style sheets, the more particular last."""
    sheets: list[str | Path] = [FOLDER / "app.tcss"]
    if console:
        sheets.append(FOLDER / "console.tcss")
    return sheets


class SafeScrollBar(ScrollBarRender):
    """Scroll bars of reversed blanks only, without the eighths of blocks that consoles lack."""

    VERTICAL_BARS = [" "]  # noqa: RUF012 - as in the base class
    HORIZONTAL_BARS = [" "]  # noqa: RUF012

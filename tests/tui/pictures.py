"""What a screen looks like as text, its styles and their contrast; the glyphs of console fonts."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from string import ascii_letters, digits

from rich.color import Color, ColorType
from rich.style import Style

from wizard.tui.app import WizardApp

RGB = tuple[int, int, int]
SNAPSHOTS = Path(__file__).parent / "snapshots"
FONTS = Path("/usr/share/consolefonts")
# the kernel's palette of the console (drivers/tty/vt/vt.c): 8 dark colours, then 8 bright ones
CONSOLE: tuple[RGB, ...] = (
    *((0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0)),
    *((0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170)),
    *((85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85)),
    *((85, 85, 255), (255, 85, 255), (85, 255, 255), (255, 255, 255)),
)


def cells(app: WizardApp) -> Iterator[tuple[int, int, str, Style]]:
    """Yield every piece that is drawn: its line, column, text and style."""
    for number, strip in enumerate(app.screen._compositor.render_strips()):
        column = 0
        for segment in strip:
            yield number, column, segment.text, segment.style or Style.null()
            column += len(segment.text)


def snapshot(app: WizardApp) -> str:
    """Return what is drawn, then the same shape in letters for styles, then what they mean."""
    names: dict[str, str] = {}
    text: dict[int, str] = {}
    styles: dict[int, str] = {}
    for line, _, piece, style in cells(app):
        letter = names.setdefault(spelled(style), (ascii_letters + digits)[len(names)])
        text[line] = text.get(line, "") + piece
        styles[line] = styles.get(line, "") + letter * len(piece)
    legend = [f"{letter} {meaning}" for meaning, letter in names.items()]
    return "\n".join(
        [*(line.rstrip() for line in text.values()), "", *styles.values(), "", *legend, ""]
    )


def spelled(style: Style) -> str:
    """Return a style in words."""
    words = [word for word in ("bold", "dim", "reverse", "underline") if getattr(style, word)]
    return " ".join([*words, _name(style.color), "on", _name(style.bgcolor)])


def _name(color: Color | None) -> str:
    if color is None or color.is_default:
        return "default"
    return color.triplet.hex if color.triplet else color.name


def contrast(style: Style) -> float:
    """Return the WCAG contrast of a style's two colours: 1 to 21; 4.5 is easy to read."""
    # the console shows bold as the bright half of its palette
    fore = _rgb(style.color, 7, bright=bool(style.bold))
    back = _rgb(style.bgcolor, 0, bright=False)
    darker, lighter = sorted((_luminance(fore), _luminance(back)))
    return (lighter + 0.05) / (darker + 0.05)


def _rgb(color: Color | None, otherwise: int, *, bright: bool) -> RGB:
    if color is not None and color.type is ColorType.TRUECOLOR:
        assert color.triplet is not None
        return tuple(color.triplet)
    number = otherwise if color is None or color.number is None else color.number
    return CONSOLE[number + 8 if bright and number < 8 else number]


def _luminance(rgb: RGB) -> float:
    parts = [part / 255 for part in rgb]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def glyphs(font: Path) -> set[str]:
    """Return the characters a console font (PSF, version 1 or 2, gzipped) draws."""
    data = gzip.decompress(font.read_bytes())
    if data[:2] == b"\x36\x04":
        mode, size = data[2], data[3]
        number = 512 if mode & 1 else 256
        words = struct.iter_unpack("<H", data[4 + number * size :])
        # 0xFFFF ends a glyph's characters, 0xFFFE begins sequences
        return {chr(word) for (word,) in words if word < 0xFFFE}
    assert data[:4] == b"\x72\xb5\x4a\x86", font
    _, header, _, number, size = struct.unpack_from("<5I", data, 4)
    found: set[str] = set()
    for entry in data[header + number * size :].split(b"\xff"):
        found |= set(entry.partition(b"\xfe")[0].decode())
    return found

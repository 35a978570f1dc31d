"""A web address as a QR code made of characters, for a telephone to scan from the screen."""

from __future__ import annotations

import segno

QUIET = 2
"""Blank modules around the code. The standard wants 4; scanners do with 2, and it fits more."""
BLANK, UPPER, LOWER, FULL = " ▀▄█"


def square(text: str) -> list[list[bool]]:
    """Return the code's modules with its quiet zone, rows of True for dark."""
    code = segno.make_qr(text, error="l")
    return [[bool(module) for module in row] for row in code.matrix_iter(border=QUIET)]


def drawn(text: str, *, halves: bool) -> list[str]:
    """Return the code as lines to be drawn black on white.

    With `halves`, half blocks put two modules above each other in a character; without, a module is
    two characters wide, of glyphs that every console font has. Either way it is about square.
    """
    modules = square(text)
    if not halves:
        return ["".join((FULL if dark else BLANK) * 2 for dark in row) for row in modules]
    if len(modules) % 2:
        modules.append([False] * len(modules))
    glyphs = {(False, False): BLANK, (True, False): UPPER, (False, True): LOWER}
    pairs = zip(modules[::2], modules[1::2], strict=True)
    return [
        "".join(glyphs.get(both, FULL) for both in zip(above, below, strict=True))
        for above, below in pairs
    ]

"""Every screen as it is seen, in both looks: snapshots, the console's glyphs, contrast.

`make snapshots` writes the snapshots anew; review what git shows of them.
"""

from __future__ import annotations

import difflib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tui import scenes
from tests.tui.driving import CONSOLE, MODERN
from tests.tui.pictures import FONTS, SNAPSHOTS, cells, contrast, glyphs, snapshot, spelled
from wizard.home.vault import Vault
from wizard.tui.app import WizardApp
from wizard.tui.looks import GLYPHS

LOOKS = {
    "modern": (MODERN, (80, 24)),
    "console": (CONSOLE, (80, 24)),
    "modern-120x36": (MODERN, (120, 36)),
}
# the larger pictures are of the screens that gain by room
LARGE = {"welcome", "mode", "sizes", "review", "deploy", "dashboard"}
WRITE = os.environ.get("BUILD_USB_SNAPSHOTS") == "write"


@dataclass
class Seen:
    """What one walk over the screens showed; glyphs and poor contrasts with where they were."""

    pictures: dict[str, str] = field(default_factory=dict)
    glyphs: dict[str, str] = field(default_factory=dict)
    poor: dict[str, str] = field(default_factory=dict)

    def look(self, name: str, app: WizardApp) -> None:
        self.pictures[name] = snapshot(app)
        # what a dialog covers is dimmed on purpose
        dialog = app.screen.query(".dialog")
        read = dialog.first().region if dialog else app.screen.region
        for line, column, text, style in cells(app):
            for glyph in text:
                self.glyphs.setdefault(glyph, name)
            if not read.contains(column, line):
                continue
            # bars of one colour are read by their length, what cannot be chosen need not be read
            if text.strip(" █░─│┌┐└┘") and not style.dim and contrast(style) < 4.5:
                self.poor.setdefault(f"{spelled(style)}: {contrast(style):.1f}", f"{name}: {text}")


@pytest.fixture(scope="module", params=LOOKS)
def seen(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _made: tuple[Path, Vault],
) -> tuple[str, Seen]:
    """Every screen in one look."""
    look: str = request.param
    folder = tmp_path_factory.mktemp(look)
    path, vault = _made
    shutil.copytree(path, folder / "home")
    found = Seen()
    environ, size = LOOKS[look]
    scenes.walk(folder, vault, environ, found.look, size)
    if "-" in look:
        found.pictures = {name: found.pictures[name] for name in LARGE}
    return look, found


def test_every_screen_looks_as_it_did(seen: tuple[str, Seen]) -> None:
    look, found = seen
    folder = SNAPSHOTS / look
    if WRITE:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in found.pictures.items():
            (folder / f"{name}.txt").write_text(text)
    kept = {path.stem: path.read_text() for path in folder.glob("*.txt")}
    assert set(kept) == set(found.pictures), "`make snapshots` writes them anew"
    changed = [
        line
        for name, text in found.pictures.items()
        for line in difflib.unified_diff(
            kept[name].splitlines(), text.splitlines(), f"{look}/{name}.txt", "now", lineterm=""
        )
    ]
    assert not changed, "\n".join([*changed, "`make snapshots` takes them as they are now"])


def test_every_word_can_be_read(seen: tuple[str, Seen]) -> None:
    assert seen[1].poor == {}


def test_the_console_draws_known_glyphs_only(seen: tuple[str, Seen]) -> None:
    look, found = seen
    if look == "console":
        assert {glyph: name for glyph, name in found.glyphs.items() if glyph not in GLYPHS} == {}


@pytest.mark.parametrize("font", ["Lat15-Fixed16", "Lat15-Terminus16"])
def test_debians_console_fonts_have_the_known_glyphs(font: str) -> None:
    path = FONTS / f"{font}.psf.gz"
    if not path.exists():
        pytest.skip("needs Debian's package console-setup-linux")
    assert GLYPHS - glyphs(path) == set()

"""Writes the screenshots of the README: `make screenshots`. Needs no lab and no network."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tests.tui import scenes
from tests.tui.driving import MODERN, PASSPHRASE
from wizard.home.home import Home
from wizard.secrets import Secret
from wizard.tui.app import WizardApp

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
WANTED = {"welcome", "mode", "review", "deploy"}


def main() -> None:
    """Walk over the screens and write those that are wanted."""
    FOLDER.mkdir(parents=True, exist_ok=True)

    def look(name: str, app: WizardApp) -> None:
        if name in WANTED:
            # every export has a random prefix for its styles: ours would differ each time
            text = re.sub(r"terminal-\d+", f"wizard-{name}", app.export_screenshot())
            # fonts of the reader's computer; nothing is fetched when it is looked at
            text = re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)
            lines = [line.rstrip() for line in text.splitlines()]
            (FOLDER / f"{name}.svg").write_text("\n".join(lines) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        vault = Home.open(Path(folder) / "home").create_identity(Secret(PASSPHRASE))
        scenes.walk(Path(folder), vault, MODERN, look, (96, 30))


if __name__ == "__main__":
    main()

"""An input for a secret, or for where one comes from."""

from __future__ import annotations

from typing import Any

from textual.widgets import Input

from wizard.tui.credentials import TYPED, is_source


class SourceInput(Input):
    """Shows `file:/path` and its like; everything else may be the secret itself and is masked."""

    def __init__(self, value: str, **more: Any) -> None:
        super().__init__(
            value,
            placeholder=f"{TYPED}; or file:/path, environment:NAME",
            password=not is_source(value),
            **more,
        )

    def watch_value(self, value: str) -> None:
        """Mask what may be a secret, from its first character on."""
        self.password = not is_source(value)

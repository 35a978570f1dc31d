"""Name and mode, with a drawing of the machines that the choices so far make."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from wizard.tui.picture import picture
from wizard.tui.screens.form import FormScreen


class ModeScreen(FormScreen):
    """The questions above, the machines below."""

    def body(self) -> Iterator[Widget]:
        """Yield questions and drawing."""
        yield from super().body()
        yield Static("", id="picture", markup=False)

    def on_mount(self) -> None:
        """Draw."""
        super().on_mount()
        self.answered()

    def answered(self) -> None:
        """Draw anew."""
        draft = self.desk.draft
        production = draft.get("mode") == "production"
        drawing = picture(
            production=production,
            webservers=draft.get("webserver.count", 2) if production else 1,
            autoscalers=draft.get("scaling.autoscalers", 1),
            managed_database=draft.get("database.managed", False),
            site=draft.get("domain.name", ""),
        )
        self.query_one("#picture", Static).update(Content(drawing))

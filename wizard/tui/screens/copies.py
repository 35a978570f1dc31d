"""Copies of the stick and backups of the build home: made and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from wizard.errors import BuildUsbError, HomeError
from wizard.secrets import Secret
from wizard.stick.client import OtherStick
from wizard.tui import flow
from wizard.tui.backups import Backups
from wizard.tui.desk import Desk
from wizard.tui.onstick import KEEP
from wizard.tui.screens.base import (
    Choose,
    Move,
    StepScreen,
    Tell,
    Typed,
    TypeName,
    explained,
    show_key,
)
from wizard.tui.widgets import Menu, Push

TEXT = """\
A copy is a second stick like this one: system, encrypted volume, and all that is in it; it starts
by itself. A backup is one file with the build home, encrypted: its passphrase opens it.\
"""
CLONE, TO_STICK, TO_BUCKET = "clone", "to-stick", "to-bucket"
FROM_STICK, FROM_BUCKET = "from-stick", "from-bucket"
ENTRIES = (
    (CLONE, "Copy this stick to another USB stick"),
    (TO_STICK, "Back up the build home on another USB stick"),
    (TO_BUCKET, "Back up the build home in a bucket"),
    (FROM_STICK, "Restore a backup from another USB stick"),
    (FROM_BUCKET, "Restore a backup from a bucket"),
)

_Result = TypeVar("_Result")


class CopiesScreen(StepScreen):
    """What can be copied where."""

    KEYS = "F1 Help  Enter Choose  Arrows Move  Esc Back  Ctrl+Q Quit"
    HELP = (
        "The other stick is only touched after you chose it by name; for a copy its model and size "
        "are typed, as everything on it is lost. A bucket is reached by the object storage that "
        "answers name, with their credentials; it must exist.\n"
        "A backup is restored into a build home that holds nothing yet: of a new encrypted volume."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f2", "back", show=False)]

    def __init__(self, desk: Desk, step: flow.Step) -> None:
        super().__init__(desk, step)
        self._backups = Backups(desk)
        self._busy = False

    def body(self) -> Iterator[Widget]:
        """Yield the text and what can be done."""
        yield Static(Content(TEXT), classes="text")
        yield Menu(list(ENTRIES), id="menu")

    def buttons(self) -> Iterator[Push]:
        """Yield the way back."""
        yield Push("Back", id="back")

    def on_mount(self) -> None:
        """Begin in the list."""
        super().on_mount()
        self.query_one("#menu").focus()

    def action_back(self) -> None:
        """Back to the welcome; not while something is written."""
        if not self._busy:
            self.finish(Move("go", "welcome"))

    @on(OptionList.OptionSelected, "#menu")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        chosen = event.option.id or ""
        if self._busy:
            return
        if chosen in (TO_STICK, TO_BUCKET) and self.desk.session is None:
            self.desk.remark = ""
            self.finish(Move("unlock"))
            return
        self._busy = True
        self._begin(chosen)

    @work
    async def _begin(self, chosen: str) -> None:
        try:
            await self._do(chosen)
        except BuildUsbError as error:
            self.say("")
            await self.app.push_screen_wait(Tell(explained(error)))
        finally:
            self._busy = False
            self.query_one("#menu").focus()

    async def _do(self, chosen: str) -> None:
        backups = self._backups
        if chosen == CLONE:
            await self._clone()
        elif chosen in (TO_STICK, FROM_STICK):
            device = await self._partition()
            if not device:
                return
            if chosen == TO_STICK:
                name = await self._slowly("Backing up ...", lambda: backups.to_stick(device))
                self.say(f"Backed up as {name}. The other stick can be pulled out.")
            else:
                await self._restore(lambda passphrase: backups.from_stick(device, passphrase))
        else:
            place = await self._bucket()
            if place is None:
                return
            if chosen == TO_BUCKET:
                name = await self._slowly("Backing up ...", lambda: backups.to_bucket(*place))
                self.say(f"Backed up as {name} in {place[1]}.")
            else:
                await self._restore(lambda passphrase: backups.from_bucket(*place, passphrase))

    async def _clone(self) -> None:
        stick = self.desk.stick
        await self._slowly("Looking at the sticks ...", stick.look)
        other = await self._other()
        if other is None:
            return
        text = (
            f"Everything on {other.confirmation} ({other.name}, serial number {other.serial}) is "
            "lost. Type its model and size to go on:"
        )
        if await self.app.push_screen_wait(TypeName(text, other.confirmation, "Copy")) != "ok":
            return
        passphrase = await self._passphrase("the encrypted volume") if stick.has_volume else None
        if stick.has_volume and passphrase is None:
            return
        key = await self._slowly(
            "Copying: some minutes. Do not pull either stick out ...",
            lambda: stick.clone(other, passphrase),
        )
        if key is not None:
            await show_key(
                self.app, f"Copied, and read back.\n\n{KEEP.format(key=key.reveal())}", key
            )
        self.say("Copied, and read back. The other stick can be pulled out.")

    async def _restore(self, work: Callable[[Secret], list[str]]) -> None:
        passphrase = await self._passphrase("the backup")
        if passphrase is None:
            return
        names = await self._slowly("Restoring ...", lambda: work(passphrase))
        self.say(f"Restored; it knows: {', '.join(names) or 'no deployment'}.")

    # -- what is asked ---------------------------------------------------------------------------

    async def _others(self) -> list[OtherStick]:
        found = await self._slowly("Looking for other sticks ...", self.desk.stick.stick.others)
        if not found:
            raise HomeError("there is no other USB stick", cure="plug one in, then try again")
        return found

    async def _other(self) -> OtherStick | None:
        found = await self._others()
        entries = [
            f"{other.confirmation}, {other.name}" + (" (in use)" if other.used else "")
            for other in found
        ]
        number = await self.app.push_screen_wait(Choose("Which stick is overwritten?", entries))
        return found[int(number)] if number else None

    async def _partition(self) -> str:
        parts = [(other, part) for other in await self._others() for part in other.partitions]
        if not parts:
            raise HomeError(
                "no other stick has a file system that can be used",
                cure="use a stick with FAT, exFAT or ext4",
            )
        entries = [
            f"{other.confirmation}: {p.label or 'no name'}, {p.device}" for other, p in parts
        ]
        number = await self.app.push_screen_wait(Choose("Which partition?", entries))
        return parts[int(number)][1].device if number else ""

    async def _bucket(self) -> tuple[Path, str] | None:
        home = self.desk.home_path
        paths = [path for path in self.desk.saved() if path.is_relative_to(home)]
        if not paths:
            raise HomeError(
                "there are no answers that could say whose object storage it is",
                cure="save answers first, or use: build-usb export BUCKET --storage ANSWERS",
            )
        entries = [str(path.relative_to(home)) for path in paths]
        number = await self.app.push_screen_wait(
            Choose("Whose object storage? That of these answers:", entries)
        )
        if not number:
            return None
        name = await self.app.push_screen_wait(Typed("Name of the bucket"))
        return (paths[int(number)], name.strip()) if name.strip() else None

    async def _passphrase(self, whose: str) -> Secret | None:
        typed = await self.app.push_screen_wait(Typed(f"Passphrase of {whose}", secret=True))
        return Secret(typed) if typed else None

    async def _slowly(self, note: str, work: Callable[[], _Result]) -> _Result:
        """Return what `work` returns, done in a thread while the note is shown. BuildUsbError."""
        self.say(note)
        worker = self.run_worker(work, thread=True, exit_on_error=False)
        try:
            result: _Result = await worker.wait()
        except Exception:
            if worker.error is None:
                raise
            raise worker.error from None
        self.say("")
        return result

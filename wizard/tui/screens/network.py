"""The network of this computer: shown when there is something to be done about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from wizard.errors import BuildUsbError
from wizard.secrets import Secret
from wizard.stick.network import Outlook
from wizard.stick.nmcli import AccessPoint, Security
from wizard.tui.online import describe
from wizard.tui.screens.base import Ask, Move, StepScreen, Tell, Typed, explained
from wizard.tui.widgets import Menu, Push, bar

JOIN, FORGET = "join", "forget"


class NetworkScreen(StepScreen):
    """How the network is, and the Wi-Fi networks in reach."""

    KEYS = "F1 Help  F2 Go on  F5 Look again  Enter Choose  Esc Back  Ctrl+Q Quit"
    HELP = (
        "A cable needs nothing but to be plugged in. Choose a Wi-Fi network with Enter; its "
        "password is not shown. A phone's USB tethering counts as a cable.\n"
        "A rehearsal on this computer needs no network once its base tree is built; F2 goes on "
        "without one."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f5", "again", "Look again")]

    def body(self) -> Iterator[Widget]:
        """Yield the state and the networks."""
        yield Static(Content("Looking at the network ..."), id="state", classes="text")
        yield Menu([], id="networks")

    def buttons(self) -> Iterator[Push]:
        """Yield what can be done."""
        yield Push("Back", id="back")
        yield Push("Look again", id="again")
        yield Push("Go on", id="next", main=True)

    def on_mount(self) -> None:
        """Look."""
        super().on_mount()
        self._points: list[AccessPoint] = []
        self._busy = False
        self.query_one("#next").focus()
        self.action_again()

    @on(Push.Pressed, "#again")
    def action_again(self) -> None:
        """Look at everything again."""
        if not self._busy:
            self._busy = True
            self.say("Looking at the network ...")
            self._look()

    # -- work that takes long --------------------------------------------------------------------

    @work(thread=True, exit_on_error=False)
    def _look(self, note: str = "") -> None:
        online = self.desk.online
        outlook = online.look(self.desk.draft, anew=True)
        lines = describe(outlook)
        if outlook.managed and not any(device.kind == "wifi" for device in outlook.devices):
            missing = online.network.firmware()
            lines += [f"The firmware of a Wi-Fi device is missing: {name}" for name in missing]
        self.app.call_from_thread(self._show, outlook, lines)
        points: list[AccessPoint] = []
        if outlook.wifi == "on" and any(device.kind == "wifi" for device in outlook.devices):
            self.app.call_from_thread(
                self._tell, "Looking for Wi-Fi networks: up to 10 seconds ..."
            )
            try:
                points = online.network.scan()
            except BuildUsbError as error:
                note = explained(error)
        self.app.call_from_thread(self._list, outlook, points, note)

    @work(thread=True, exit_on_error=False)
    def _do(self, work: Callable[[], None], done: str) -> None:
        try:
            work()
        except BuildUsbError as error:
            done = ""
            self.app.call_from_thread(self.app.push_screen, Tell(explained(error)))
        self._look(done)

    def _begin(self, what: str, work: Callable[[], None], done: str) -> None:
        self._busy = True
        self.say(what)
        self._do(work, done)

    # -- what is shown ---------------------------------------------------------------------------

    def _show(self, outlook: Outlook, lines: list[str]) -> None:
        if self.is_attached:
            self.query_one("#state", Static).update(Content("\n".join(lines)))

    def _tell(self, text: str) -> None:
        if self.is_attached:  # the person may have gone on meanwhile
            self.say(text)

    def _list(self, outlook: Outlook, points: list[AccessPoint], note: str) -> None:
        if not self.is_attached:
            return
        self._busy = False
        self._points = points
        menu = self.query_one("#networks", Menu)
        had_focus = menu.has_focus
        entries = [(f"n-{number}", _line(point)) for number, point in enumerate(points)]
        if outlook.wifi == "off":
            entries = [("on", "Switch Wi-Fi on")]
        elif points:
            entries.append(("hidden", "A network that hides its name"))
        menu.clear_options()
        menu.add_options([Option(text, id=key) for key, text in entries])
        menu.display = bool(entries)
        self.say(note)
        if entries and (had_focus or not outlook.well):
            menu.focus()
            menu.highlighted = 0
        elif not entries or outlook.well:
            self.query_one("#next").focus()

    # -- choosing --------------------------------------------------------------------------------

    @on(OptionList.OptionSelected, "#networks")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        if not self._busy:
            self._choose(event.option.id or "")

    @work
    async def _choose(self, chosen: str) -> None:
        network = self.desk.online.network
        if chosen == "on":
            self._begin("Switching Wi-Fi on ...", network.switch_on, "Wi-Fi is on.")
            return
        if chosen == "hidden":
            await self._hidden()
            return
        point = self._points[int(chosen.removeprefix("n-"))]
        if point.refusal:
            await self.app.push_screen_wait(
                Tell(f"{point.name} cannot be joined: {point.refusal}.")
            )
            return
        answer = JOIN
        if point.known or point.in_use:
            answer = await self.app.push_screen_wait(
                Ask(
                    f"{point.name} is known already.",
                    [("cancel", "Cancel"), (FORGET, "Forget it"), (JOIN, "Join")],
                )
            )
        elif point.security is Security.OPEN:
            answer = await self.app.push_screen_wait(
                Ask(
                    f"{point.name} is not encrypted: everybody near can see which sites are "
                    "spoken to. What is deployed is encrypted all the same.",
                    [("cancel", "Cancel"), (JOIN, "Join")],
                )
            )
        if answer == FORGET:
            self._begin(
                "Forgetting ...", lambda: network.forget(point), f"{point.name}: forgotten."
            )
        elif answer == JOIN:
            await self._join(point)

    async def _join(self, point: AccessPoint, *, hidden: bool = False) -> None:
        password: Secret | None = None
        if point.security.needs_password and not point.known:
            typed = await self.app.push_screen_wait(Typed(f"Password of {point.name}", secret=True))
            if not typed:
                return
            password = Secret(typed)
        self._begin(
            f"Joining {point.name}: this may take a minute ...",
            lambda: self.desk.online.network.join(point, password, hidden=hidden),
            f"Joined {point.name}.",
        )

    async def _hidden(self) -> None:
        name = await self.app.push_screen_wait(Typed("Name of the network"))
        if not name:
            return
        kind = await self.app.push_screen_wait(
            Ask(
                "How is it protected?",
                [
                    ("cancel", "Cancel"),
                    ("wpa-psk", "Password (WPA)"),
                    ("sae", "WPA3"),
                    ("none", "Not"),
                ],
            )
        )
        if kind in ("wpa-psk", "sae", "none"):
            security = Security("" if kind == "none" else kind)
            await self._join(AccessPoint(name.encode(), security=security), hidden=True)

    def action_back(self) -> None:
        """Back to the welcome."""
        self.finish(Move("go", "welcome"))


def _line(point: AccessPoint) -> str:
    words = [point.security.words, *([f"{'/'.join(point.bands)} GHz"] if point.bands else [])]
    if point.in_use:
        words.append("connected")
    elif point.known:
        words.append("known")
    if point.refusal:
        words.append("not possible")
    return f"{point.name:<32} {point.signal:>3} % {bar(point.signal / 100, 5)}  {', '.join(words)}"

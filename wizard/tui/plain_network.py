"""The network screen as line prompts."""

from __future__ import annotations

from collections.abc import Callable

from wizard.errors import BuildUsbError
from wizard.secrets import Secret
from wizard.stick.nmcli import AccessPoint, Security
from wizard.tui.draft import Draft
from wizard.tui.online import Online, describe

Say = Callable[[str], None]
Ask = Callable[[str], str]


def see_to(online: Online, draft: Draft, say: Say, ask: Ask, ask_secret: Ask) -> None:
    """Talk about the network if something is to be done about it, until the person goes on."""
    if not online.trouble(draft):
        return
    say("\nNetwork. A cable needs nothing but to be plugged in.")
    while True:
        outlook = online.look(draft, anew=True)
        say("\n".join(describe(outlook)))
        points: list[AccessPoint] = []
        if outlook.wifi == "off":
            say("  on  switch Wi-Fi on")
        elif outlook.wifi == "on" and any(device.kind == "wifi" for device in outlook.devices):
            say("Looking for Wi-Fi networks: up to 10 seconds ...")
            try:
                points = online.network.scan()
            except BuildUsbError as error:
                say(str(error))
            for number, point in enumerate(points, start=1):
                say(f"  {number}  {_line(point)}")
            say("  name NAME  a network that hides its name\n  forget NUMBER")
        elif outlook.managed:
            missing = online.network.firmware()
            say("\n".join(f"The firmware of a Wi-Fi device is missing: {name}" for name in missing))
        reply = ask("Number of a network, 'again' to look again, Enter to go on: ").strip()
        if not reply:
            return
        try:
            _obey(online, points, reply, say, ask_secret)
        except BuildUsbError as error:
            say(str(error))


def _obey(online: Online, points: list[AccessPoint], reply: str, say: Say, ask: Ask) -> None:
    """Do what was typed; anything not understood only looks again. Raises NetworkError."""
    word, _, rest = reply.partition(" ")
    network = online.network
    numbered = dict(enumerate(points, start=1))
    point = numbered.get(int(reply)) if reply.isdecimal() else None
    if reply == "on":
        network.switch_on()
    elif word == "forget" and rest.isdecimal() and int(rest) in numbered:
        network.forget(numbered[int(rest)])
    elif point is not None:
        if point.security is Security.OPEN:
            say("This network is not encrypted.")
        password = None
        if point.security.needs_password and not point.known and not point.refusal:
            password = Secret(ask(f"Password of {point.name}: "))
        say("Joining: this may take a minute ...")
        network.join(point, password)
    elif word == "name" and rest:
        typed = ask("Its password, empty for none: ")
        kind = Security.PSK if typed else Security.OPEN
        hidden = AccessPoint(rest.encode(), security=kind)
        say("Joining: this may take a minute ...")
        network.join(hidden, Secret(typed) if typed else None, hidden=True)


def _line(point: AccessPoint) -> str:
    words = [point.security.words]
    words += ["connected"] if point.in_use else ["known"] if point.known else []
    words += [f"not possible: {point.refusal}"] if point.refusal else []
    return f"{point.name}, signal {point.signal} %, {', '.join(words)}"

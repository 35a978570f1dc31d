"""The stick's settings and its encrypted volume as line prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from wizard.errors import BuildUsbError, HomeError, UsageError
from wizard.home.strength import strength
from wizard.secrets import Secret
from wizard.stick import settings
from wizard.stick.settings import Settings
from wizard.tui.onstick import KEEP, LOST, OnStick

Ask = Callable[[str], str]
Say = Callable[[str], None]
_EXAMPLES = {
    "keyboard": "us, de, fr, gb, ch fr, us dvorak",
    "timezone": "Etc/UTC, Europe/Paris, America/New_York, Asia/Tokyo",
}


def begin(stick: OnStick, say: Say, ask: Ask, ask_secret: Ask) -> None:
    """Ask for settings unless they are remembered, then for the volume; until it is decided."""
    if stick.remembered is None:
        _settings(stick, say, ask)
    while not _volume(stick, say, ask, ask_secret):
        pass


def _settings(stick: OnStick, say: Say, ask: Ask) -> None:
    values = asdict(stick.remembered or Settings())
    names = {"keyboard": "Keyboard layout", "timezone": "Time zone", "language": "Language"}
    for name, label in names.items():
        while True:
            typed = ask(f"{label} [{values[name]}]: ").strip()
            if typed == "?":
                say("For example: " + _EXAMPLES.get(name, ", ".join(settings.languages()[:8])))
                continue
            wrong = settings.problems(Settings(**{**values, name: typed or values[name]}))
            if name not in wrong:
                values[name] = typed or values[name]
                break
            say(f"! {wrong[name]}")
    try:
        note = stick.use(Settings(**values))
    except BuildUsbError as error:
        note = str(error)
    if note:
        say(note)


def _volume(stick: OnStick, say: Say, ask: Ask, ask_secret: Ask) -> bool:
    """Make or open the volume, or go on without; say whether it is decided."""
    try:
        status = stick.look()
        say(stick.describe())
        if status.can_make:
            return _make(stick, say, ask, ask_secret)
        if status.can_open:
            return _open(stick, say, ask, ask_secret)
    except BuildUsbError as error:
        say(str(error))
        return ask("Enter to try again, 'memory' to go on in memory only: ").strip() == "memory"
    return True


def _make(stick: OnStick, say: Say, ask: Ask, ask_secret: Ask) -> bool:
    if _without(say, ask, "Make the encrypted volume?"):
        return True
    first = _new_passphrase(say, ask_secret)
    if first is None:
        return False
    say("Making the volume: half a minute, longer on a slow stick. Do not pull it out.")
    key = stick.create(first)
    say(KEEP.format(key=key.reveal()))
    last = key.reveal().rpartition("-")[2]
    while ask("Its last five characters, when it is written down: ").strip().upper() != last:
        say("Without it a forgotten passphrase loses everything in the volume.")
    return True


def _open(stick: OnStick, say: Say, ask: Ask, ask_secret: Ask) -> bool:
    if _without(say, ask, "Open it?"):
        return True
    first = Secret(ask_secret("Passphrase (empty: it is forgotten): "))
    if first:
        stick.open(first)
        return True
    recovery = Secret(ask("Recovery key (empty: back): "))
    new = _new_passphrase(say, ask_secret) if recovery else None
    if new is None:
        return False
    stick.recover(recovery, new)
    return True


def _new_passphrase(say: Say, ask_secret: Ask) -> Secret | None:
    first = Secret(ask_secret("New passphrase (12 or more characters): "))
    say(f"Strength: {strength(first)}")
    if first == Secret(ask_secret("The same again: ")):
        return first
    say("The two passphrases differ.")
    return None


def _without(say: Say, ask: Ask, question: str) -> bool:
    """Ask yes or no; no is taken only after what is lost was said."""
    if ask(f"{question} [Y/n] ").strip().lower() not in ("n", "no"):
        return False
    say(LOST)
    return ask("Go on in memory only? [y/N] ").strip().lower() in ("y", "yes")


def copy(stick: OnStick, say: Say, ask: Ask, ask_secret: Ask) -> None:
    """Copy this stick to another one that is chosen and confirmed. Raises BuildUsbError."""
    others = stick.stick.others()
    for number, other in enumerate(others, start=1):
        used = f" (in use: {'; '.join(other.used)})" if other.used else ""
        say(f"  {number}  {other.confirmation}, {other.name}, serial {other.serial}{used}")
    if not others:
        raise HomeError("there is no other USB stick", cure="plug one in, then try again")
    typed = ask("Number of the stick to overwrite: ").strip()
    if not typed.isdecimal() or not 1 <= int(typed) <= len(others):
        raise UsageError("no such stick: nothing was written")
    chosen = others[int(typed) - 1]
    say(f"Everything on {chosen.confirmation} is lost.")
    if ask(f"Type its model and size to go on ({chosen.confirmation}): ") != chosen.confirmation:
        raise UsageError("not confirmed: nothing was written")
    stick.look()
    passphrase = (
        Secret(ask_secret("Passphrase of the encrypted volume: ")) if stick.has_volume else None
    )
    say("Copying: some minutes. Do not pull either stick out.")
    key = stick.clone(chosen, passphrase)
    say("Copied, and read back." + (f" {KEEP.format(key=key.reveal())}" if key else ""))

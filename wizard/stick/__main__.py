"""The helper that runs as root: `sudo /usr/lib/build-usb/stick COMMAND [ARGUMENT...]`.

Its caller is not trusted: commands and arguments are a fixed list, checked before anything is
done, and no disk is touched but the stick that was started from; other USB sticks only for a
clone or a backup, named by device, serial number and size all at once. Secrets come as a JSON
object on standard input; the answer is one JSON object on standard output: `{"result": …}`, or
`{"error": {"kind", "what", "where", "why", "cure"}}` with the error's exit code.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wizard.errors import BuildUsbError, ExitCode, LockedError, UsageError
from wizard.home.files import explained
from wizard.home.passphrase import refuse_weak
from wizard.secrets import Secret
from wizard.stick import clone, commands, media, medium, sealed, settings, table, volume
from wizard.stick.volume import Owner

LOCK = Path("/run/build-usb/stick.lock")
_LARGEST = 16 * 1024  # bytes of standard input

Result = dict[str, Any]


def status() -> Result:
    """Return what was started from, the stick, and its volume."""
    found = medium.find()
    result: Result = {"origin": found.origin, "stick": None, "volume": None}
    if found.disk is not None:
        result["stick"] = media.facts(found.disk)
        result["volume"] = asdict(volume.status(found.disk))
    return result


def create(passphrase: Secret) -> Result:
    """Make the encrypted volume and open it; return its recovery key."""
    refuse_weak(passphrase)
    recovery = volume.create(medium.boot_disk(), passphrase, _owner())
    return {"recovery": recovery.reveal()}


def open_(passphrase: Secret) -> Result:
    """Open the encrypted volume by its passphrase."""
    volume.open_volume(medium.boot_disk(), passphrase, _owner())
    return {}


def recover(recovery: Secret, passphrase: Secret) -> Result:
    """Open the encrypted volume by its recovery key and give it a new passphrase."""
    refuse_weak(passphrase)
    volume.recover(medium.boot_disk(), recovery, passphrase, _owner())
    return {}


def close() -> Result:
    """Close the encrypted volume."""
    volume.close_volume()
    return {}


def setrw() -> Result:
    """Make the stick writable, as far as it lets us."""
    table.set_writable(medium.boot_disk())
    return {}


def answers_mount(mode: str) -> Result:
    """Mount the ANSWERS partition, `ro` or `rw`; return where."""
    return {"folder": str(media.mount_answers(medium.boot_disk(), mode, _owner()))}


def answers_unmount() -> Result:
    """Unmount the ANSWERS partition."""
    media.unmount(media.ANSWERS)
    return {}


def unseal() -> Result:
    """Return the passphrase on ANSWERS that this computer's TPM has sealed."""
    return {"passphrase": sealed.unseal(media.ANSWERS).reveal()}


def others() -> Result:
    """Return the USB sticks that are not the one started from, with their partitions."""
    return {"sticks": media.others(medium.find().disk)}


def other_mount(device: str, mode: str) -> Result:
    """Mount a partition of another USB stick, `ro` or `rw`; return where."""
    return {"folder": str(media.mount_other(device, mode, medium.find().disk, _owner()))}


def other_unmount() -> Result:
    """Unmount the other stick, which can be pulled out then."""
    media.unmount(media.OTHER)
    return {}


def clone_to(name: str, serial: str, size: str, passphrase: Secret, recovery: Secret) -> Result:
    """Make another stick a copy of this one, with a recovery key of its own."""
    target = media.other(name, serial, size, medium.boot_disk())
    clone.clone(medium.boot_disk(), target, (passphrase, recovery), _owner())
    return {}


def keyboard(name: str) -> Result:
    """Use a keyboard layout on the consoles."""
    settings.refuse_unknown(settings.Settings(keyboard=name))
    settings.apply_keyboard(name)
    return {}


def timezone(name: str) -> Result:
    """Use a time zone."""
    settings.refuse_unknown(settings.Settings(timezone=name))
    settings.apply_timezone(name)
    return {}


def language(name: str) -> Result:
    """Use a locale."""
    settings.refuse_unknown(settings.Settings(language=name))
    settings.apply_language(name)
    return {}


def apply_remembered() -> Result:
    """Mount ANSWERS and apply what was chosen at an earlier start; nothing chosen is no error."""
    found = settings.remembered(media.mount_answers(medium.boot_disk(), "ro", _owner()))
    if found is not None:
        settings.apply_keyboard(found.keyboard)
        settings.apply_timezone(found.timezone)
        settings.apply_language(found.language)
    return {"settings": asdict(found) if found else None}


def remember(keyboard_: str, timezone_: str, language_: str) -> Result:
    """Keep settings on the ANSWERS partition for the next start."""
    chosen = settings.Settings(keyboard_, timezone_, language_)
    settings.refuse_unknown(chosen)
    with media.writable_answers(medium.boot_disk(), _owner()) as folder:
        settings.remember(folder, chosen)
    return {}


def poweroff() -> Result:
    """Close the volume, as far as possible, and switch the computer off."""
    return _leave("poweroff")


def reboot() -> Result:
    """Close the volume, as far as possible, and restart the computer."""
    return _leave("reboot")


def _leave(how: str) -> Result:
    os.sync()
    commands.run("systemctl", how, doing=how)
    return {}


Command = Callable[..., Result]
# what it is called: what it does, how many arguments, which secrets
COMMANDS: dict[str, tuple[Command, int, tuple[str, ...]]] = {
    "status": (status, 0, ()),
    "create": (create, 0, ("passphrase",)),
    "open": (open_, 0, ("passphrase",)),
    "recover": (recover, 0, ("recovery", "passphrase")),
    "close": (close, 0, ()),
    "clone": (clone_to, 3, ("passphrase", "recovery")),
    "setrw": (setrw, 0, ()),
    "answers-mount": (answers_mount, 1, ()),
    "answers-unmount": (answers_unmount, 0, ()),
    "unseal": (unseal, 0, ()),
    "others": (others, 0, ()),
    "other-mount": (other_mount, 2, ()),
    "other-unmount": (other_unmount, 0, ()),
    "keyboard": (keyboard, 1, ()),
    "timezone": (timezone, 1, ()),
    "language": (language, 1, ()),
    "remember": (remember, 3, ()),
    "apply-remembered": (apply_remembered, 0, ()),
    "poweroff": (poweroff, 0, ()),
    "reboot": (reboot, 0, ()),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.clear()
    os.environ.update(commands.ENVIRONMENT)
    try:
        command, arguments, secrets = _understood(sys.argv[1:] if words is None else words)
        given = _secrets(secrets)
        with _alone():
            answer = {"result": command(*arguments, **given)}
        code = ExitCode.OK
    except BuildUsbError as error:
        shown = {name: getattr(error, name) for name in ("what", "where", "why", "cure")}
        answer = {"error": {"kind": type(error).__name__, **shown}}
        code = error.exit_code
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    return code


def _understood(words: Sequence[str]) -> tuple[Command, list[str], tuple[str, ...]]:
    name, *arguments = words or [""]
    if name not in COMMANDS:
        raise UsageError("no such command of the helper", cure=", ".join(sorted(COMMANDS)))
    command, number, secrets = COMMANDS[name]
    strange = any(not a.isprintable() or len(a) > 256 or a.startswith("-") for a in arguments)
    if len(arguments) != number or strange:
        raise UsageError(f"{name} takes {number} plain arguments")
    return command, arguments, secrets


def _secrets(names: tuple[str, ...]) -> dict[str, Secret]:
    if not names:
        return {}
    try:
        values = json.loads(sys.stdin.buffer.read(_LARGEST))
        if set(values) != set(names) or not all(isinstance(v, str) and v for v in values.values()):
            raise ValueError
    except (ValueError, TypeError):
        raise UsageError(f"standard input must be a JSON object with {', '.join(names)}") from None
    return {name: Secret(value) for name, value in values.items()}


def _owner() -> Owner:
    """Return the user who called us through sudo; root when it is root itself."""
    # sudo sets these, whatever its caller's environment says; taken before it was cleared
    return Owner(_UID, _GID)


def _number(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 0


_UID, _GID = _number("SUDO_UID"), _number("SUDO_GID")


@contextmanager
def _alone() -> Iterator[None]:
    """Let one helper work at a time; programs it started keep the next one out, too."""
    LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with explained(LOCK, "open"):
        descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                "something else is being done with the stick", cure="wait until it ends"
            ) from None
        commands.inherited.append(descriptor)
        yield
    finally:
        commands.inherited.clear()
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())

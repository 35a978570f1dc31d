"""How the wizard, which is not root, has the helper do things to the stick.

Results and errors are what the helper printed as JSON; secrets go to its standard input.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wizard import errors
from wizard.errors import BuildUsbError, HomeError
from wizard.secrets import Secret, plain
from wizard.stick import medium
from wizard.stick.media import KINDS
from wizard.stick.medium import Origin
from wizard.stick.settings import Settings
from wizard.stick.volume import Phase

HELPER = Path("/usr/lib/build-usb/stick")
_SUDO = ("sudo", "--non-interactive", str(HELPER))


def present() -> bool:
    """Say whether this computer was started from the image; asks nobody, takes no time."""
    return HELPER.exists() and medium.find().origin is not Origin.ORDINARY


@dataclass(frozen=True)
class Status:
    """The stick and its volume; sizes in bytes. `phase` is None where there cannot be a volume.

    `protected`: the stick itself cannot be written to."""

    origin: Origin
    model: str = ""
    size: int = 0
    phase: Phase | None = None
    room: int = 0
    free: int = 0
    protected: bool = False

    @property
    def can_make(self) -> bool:
        """Say whether a volume can be made now."""
        return self.phase in (Phase.ABSENT, Phase.UNFINISHED) and not self.protected

    @property
    def can_open(self) -> bool:
        """Say whether there is a volume that can be opened now: its journal is written to then."""
        return self.phase is Phase.LOCKED and not self.protected


@dataclass(frozen=True)
class Partition:
    """A partition of another stick whose file system can be used."""

    device: str
    label: str


@dataclass(frozen=True)
class OtherStick:
    """Another USB stick; `used` says why it cannot be written to, if so."""

    name: str
    model: str
    serial: str
    size: int
    used: tuple[str, ...]
    partitions: tuple[Partition, ...]

    @property
    def confirmation(self) -> str:
        """Return what is typed before it is overwritten."""
        return f"{self.model} {self.size / 1e9:.1f} GB"


class Stick:
    """The stick, through its helper. Every method is slow, and raises BuildUsbError."""

    def __init__(self, command: Sequence[str] = _SUDO) -> None:
        self._command = tuple(command)

    def status(self) -> Status:
        """Return how stick and volume are."""
        found = self._call("status")
        stick, volume = found["stick"] or {}, found["volume"]
        return Status(
            origin=Origin(found["origin"]),
            model=stick.get("model", ""),
            size=stick.get("size", 0),
            phase=Phase(volume["phase"]) if volume else None,
            room=volume["room"] if volume else 0,
            free=volume["free"] if volume else 0,
            protected=volume["protected"] if volume else False,
        )

    def create(self, passphrase: Secret) -> Secret:
        """Make the encrypted volume and open it; return its recovery key."""
        return Secret(self._call("create", passphrase=passphrase)["recovery"])

    def open(self, passphrase: Secret) -> None:
        """Open the encrypted volume."""
        self._call("open", passphrase=passphrase)

    def recover(self, recovery: Secret, passphrase: Secret) -> None:
        """Open the encrypted volume by its recovery key and give it a new passphrase."""
        self._call("recover", recovery=recovery, passphrase=passphrase)

    def close(self) -> None:
        """Close the encrypted volume."""
        self._call("close")

    def others(self) -> list[OtherStick]:
        """Return the other USB sticks that are plugged in."""
        return [
            OtherStick(
                name=found["name"],
                model=found["model"],
                serial=found["serial"],
                size=found["size"],
                used=tuple(found["used"]),
                partitions=tuple(
                    Partition(part["device"], part["label"])
                    for part in found["partitions"]
                    if part["kind"] in KINDS
                ),
            )
            for found in self._call("others")["sticks"]
        ]

    def clone(self, other: OtherStick, passphrase: Secret, recovery: Secret) -> None:
        """Make another stick a copy of this, with this recovery key."""
        words = ("clone", other.name, other.serial, str(other.size))
        self._call(*words, passphrase=passphrase, recovery=recovery)

    def mount_other(self, device: str, mode: str = "rw") -> Path:
        """Mount a partition of another stick and return where."""
        return Path(self._call("other-mount", device, mode)["folder"])

    def unmount_other(self) -> None:
        """Unmount it; it can be pulled out then."""
        self._call("other-unmount")

    def mount_answers(self, mode: str) -> Path:
        """Mount the ANSWERS partition, `ro` or `rw`, and return where."""
        return Path(self._call("answers-mount", mode)["folder"])

    def unseal(self) -> Secret:
        """Return the passphrase on ANSWERS that this computer's TPM has sealed."""
        return Secret(self._call("unseal")["passphrase"])

    def use(self, settings: Settings) -> None:
        """Use keyboard, time zone and language from now on."""
        self._call("keyboard", settings.keyboard)
        self._call("timezone", settings.timezone)
        self._call("language", settings.language)

    def remember(self, settings: Settings) -> None:
        """Keep the settings for the next start."""
        self._call("remember", settings.keyboard, settings.timezone, settings.language)

    def poweroff(self) -> None:
        """Switch the computer off."""
        self._call("poweroff")

    def reboot(self) -> None:
        """Restart the computer."""
        self._call("reboot")

    def _call(self, *words: str, **secrets: Secret) -> dict[str, Any]:
        try:
            ended = subprocess.run(
                [*self._command, *words],
                input=json.dumps(plain(secrets)).encode(),
                capture_output=True,
                check=False,
            )
            answer: dict[str, Any] = json.loads(ended.stdout)
        except (OSError, ValueError) as error:
            why = str(error) if isinstance(error, OSError) else ended.stderr.decode()[-2000:]
            raise HomeError(
                f"the stick's helper did not answer ({words[0]})", where=str(HELPER), why=why
            ) from error
        if "error" in answer:
            raise _error(answer["error"])
        return dict(answer["result"])


def _error(values: dict[str, str]) -> BuildUsbError:
    found = getattr(errors, values.get("kind", ""), None)
    kind = found if isinstance(found, type) and issubclass(found, BuildUsbError) else HomeError
    return kind(values["what"], where=values["where"], why=values["why"], cure=values["cure"])

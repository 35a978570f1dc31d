"""What the stick was told to do without a keyboard: the answers on it, and the consent to act.

Two things are needed: `answers.yaml` on the stick's FAT partition ANSWERS, which any computer can
write, and `buildusb.answers=1` on the kernel's command line. The file alone is only offered.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from wizard.errors import UsageError

STICK = Path("/run/build-usb")
"""Where the stick's own partitions are mounted; only there on a computer started from one."""

VARIABLE = "BUILD_USB_ANSWERS"
"""Names another folder in the place of the partition ANSWERS."""

KEYS_LABELS = tuple(Path("/dev/disk", by, "BUILD-KEYS") for by in ("by-label", "by-partlabel"))
"""Where a second stick with the passphrase shows up: FAT allows labels of 11 characters."""

FILE = "answers.yaml"
COMMAND_LINE = Path("/proc/cmdline")
WAIT = 5
"""Minutes to wait for the network when nothing else is said."""

_LONGEST_WAIT = 24 * 60


class After(StrEnum):
    """What happens when the work is done."""

    POWEROFF = "poweroff"
    REBOOT = "reboot"
    WIZARD = "wizard"


@dataclass(frozen=True)
class Orders:
    """What the kernel's command line says. `answers`: the file's name, empty without consent;
    `wait`: minutes for the network to come; `serial`: the consoles that are serial lines."""

    answers: str = ""
    after: After = After.WIZARD
    wait: int = WAIT
    serial: tuple[Path, ...] = ()


def folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the partition ANSWERS is mounted."""
    environ = os.environ if environ is None else environ
    return Path(environ.get(VARIABLE) or STICK / "answers")


def offered(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the answers found on the stick, None if there are none."""
    path = folder(environ) / FILE
    return path if path.is_file() else None


def parse(command_line: str) -> Orders:
    """Return the orders on a kernel's command line; of a word said twice the last counts.

    Raises UsageError with everything that cannot be understood.
    """
    given: dict[str, str] = {}
    serial = []
    for word in command_line.split():
        key, _, value = word.partition("=")
        if key.startswith("buildusb."):
            given[key.removeprefix("buildusb.")] = value
        elif key == "console" and value.startswith("ttyS"):
            serial.append(Path("/dev") / value.partition(",")[0])
    problems = []
    answers = given.get("answers", "")
    if answers in ("1", "yes"):
        answers = FILE
    elif answers in ("0", "no"):
        answers = ""
    if PurePosixPath(answers).is_absolute() or ".." in PurePosixPath(answers).parts:
        problems.append("buildusb.answers: 1, or the name of a file on the partition ANSWERS")
    after = given.get("after", After.WIZARD)
    if after not in list(After):
        problems.append(f"buildusb.after: one of {', '.join(After)}")
    wait = given.get("wait", str(WAIT))
    if not wait.isdecimal() or int(wait) > _LONGEST_WAIT:
        problems.append(f"buildusb.wait: minutes, 0 to {_LONGEST_WAIT}")
    if problems:
        raise UsageError(
            "the kernel's command line is not understood",
            where=str(COMMAND_LINE),
            why="\n".join(problems),
            cure="press e at the boot menu and mend the line; docs/headless.md lists the words",
        )
    return Orders(answers, After(after), int(wait), tuple(serial))

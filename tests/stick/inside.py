"""What runs inside the virtual machine of `guest.py`: scenarios on the real thing, by name.

Run as `python inside.py SCENARIO [WORD...]`; says how far it is on standard output.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from wizard.errors import (
    BuildUsbError,
    HomeError,
    NotSupportedError,
    PassphraseError,
    UsageError,
)
from wizard.home.files import write_json
from wizard.secrets import Secret
from wizard.stick import clone, connections, luks, media, medium, settings, table, volume
from wizard.stick.client import Stick
from wizard.stick.disks import Disk, disk_at
from wizard.stick.medium import Origin
from wizard.stick.volume import Owner, Phase

CHEAP = luks.Cost(memory=64, passes=4, threads=1)
RIGHT = Secret("correct horse battery staple")
WRONG = Secret("correct horse battery stable")
NOBODY = Owner(1000, 1000)
HOME = volume.PLACE / "home"


def say(*words: object) -> None:
    print(*words, flush=True)


@contextmanager
def refused(kind: type[BuildUsbError], text: str) -> Iterator[None]:
    try:
        yield
    except kind as error:
        if text not in str(error):
            raise
    else:
        raise AssertionError(f"not refused: {text}")


def sh(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def sticks(number: int, blank: int = 0) -> list[str]:
    """Wait for the sticks, the last ones of them blank, and return their names in order."""
    for _ in range(600):
        found = [disk_at(path) for path in Path("/sys/block").glob("sd*")]
        found.sort(key=lambda disk: int(disk.serial.removeprefix("STICK") or 0))
        ready = [disk for disk in found if (disk.folder / f"{disk.name}1").exists()]
        if len(ready) == number and len(found) == number + blank:
            return [disk.name for disk in found]
        time.sleep(0.1)
    raise AssertionError(f"{number} sticks were expected: {found}")


def boot(name: str = "sda") -> Disk:
    """Mount the system partition where live-boot does, and return the stick."""
    medium.MEDIUM.mkdir(parents=True, exist_ok=True)
    sh("mount", "-o", "ro", f"/dev/{name}1", str(medium.MEDIUM))
    return medium.boot_disk()


def mounted_profiles(*names: str) -> bool:
    """Say whether NetworkManager's folder is the volume's, with these profiles in it."""
    found = {path.name: path for path in connections.PROFILES.iterdir()}
    private = all(path.stat().st_mode & 0o777 == 0o600 for path in found.values())
    inside = {path.name for path in (volume.PLACE / "system/networks").iterdir()}
    return (
        bool(medium.mounted_at(connections.PROFILES))
        and private
        and (set(found) == inside == set(names))
    )


def volume_life() -> None:
    """Everything that can be done with one volume, in turn."""
    sticks(1)
    disk = boot()
    assert (disk.usb, disk.removable, disk.serial) == (True, True, "STICK0"), disk
    assert volume.status(disk).phase is Phase.ABSENT
    with refused(HomeError, "there is no encrypted volume"):
        volume.open_volume(disk, RIGHT, NOBODY)
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "begun-in-memory").write_text("kept")
    connections.PROFILES.mkdir(parents=True, exist_ok=True)
    joined = connections.PROFILES / "build-usb-wifi-41.nmconnection"
    joined.write_text("psk=of the café")
    # every disk is read-only at first sight in the image; that is no protection, and stays
    sh("blockdev", "--setro", "/dev/sda")
    assert not volume.status(disk).protected
    assert sh("blockdev", "--getro", "/dev/sda").strip() == "1"
    started = time.monotonic()
    recovery = volume.create(disk, RIGHT, NOBODY, CHEAP)
    say("FIGURE create", round(time.monotonic() - started, 1))
    assert volume.status(disk).phase is Phase.OPEN
    assert (HOME / "begun-in-memory").read_text() == "kept"
    mount = medium.mounted_at(volume.PLACE)
    assert mount
    assert {"nosuid", "nodev", "noexec", "rw"} <= set(mount.options), mount
    assert HOME.stat().st_uid == 1000
    assert HOME.stat().st_mode & 0o777 == 0o700
    with refused(HomeError, "has an encrypted volume already"):
        volume.create(disk, RIGHT, NOBODY, CHEAP)
    write_json(HOME / "state.json", {"n": 1})

    # networks that were joined are in the volume, and known again when it is opened
    assert mounted_profiles(joined.name)
    hotel = connections.PROFILES / "build-usb-wifi-42.nmconnection"
    hotel.touch(0o600)
    hotel.write_text("psk=of the hotel")

    with (HOME / "busy").open("w"), refused(HomeError, "cannot unmount"):
        volume.close_volume()
    volume.close_volume()
    assert not (HOME / "state.json").exists()
    assert volume.status(disk).phase is Phase.LOCKED
    assert not medium.mounted_at(connections.PROFILES)
    for path in connections.PROFILES.iterdir():  # as after a start
        path.unlink()
    with refused(PassphraseError, "wrong passphrase"):
        volume.open_volume(disk, WRONG, NOBODY)
    volume.open_volume(disk, RIGHT, NOBODY)
    volume.open_volume(disk, RIGHT, NOBODY)
    with refused(PassphraseError, "wrong passphrase"):
        volume.open_volume(disk, WRONG, NOBODY)
    assert json.loads((HOME / "state.json").read_text()) == {"n": 1}
    assert mounted_profiles(joined.name, hotel.name)
    say("STAGE reopened")

    volume.close_volume()
    with refused(PassphraseError, "this is not a recovery key"):
        volume.recover(disk, Secret("ABCDE"), WRONG, NOBODY, CHEAP)
    with refused(PassphraseError, "wrong passphrase"):
        volume.recover(disk, luks.generate_recovery_key(), WRONG, NOBODY, CHEAP)
    typed = Secret(recovery.reveal().lower().replace("-", " "))
    new = Secret("another passphrase entirely")
    volume.recover(disk, typed, new, NOBODY, CHEAP)
    assert (HOME / "state.json").exists()
    device = volume.existing(disk).device
    assert luks.opens(device, new)
    assert luks.opens(device, recovery)
    assert not luks.opens(device, RIGHT)
    assert luks.opens(device, recovery)
    say("STAGE recovered")

    # full: what was there stays, and it says so
    with refused(HomeError, "no space left"):
        for n in range(10_000):
            (HOME / "ballast").open("ab").write(b"x" * 2**20) if n < 1 else None
            write_json(HOME / f"big{n}.json", "x" * 2**22)
    assert json.loads((HOME / "state.json").read_text()) == {"n": 1}
    for path in HOME.glob("big*"):
        path.unlink()
    write_json(HOME / "state.json", {"n": 2})
    volume.close_volume()
    say("STAGE full")

    # the first header destroyed: the second is used; both destroyed: said to be damage
    with device.open("r+b") as file:
        file.write(b"\0" * 4096)
    volume.open_volume(disk, new, NOBODY)
    volume.close_volume()
    with device.open("r+b") as file:
        for offset in (64, *(n + 64 for n in luks._SECOND_AT)):
            file.seek(offset)
            file.write(b"\0" * 512)
    assert volume.status(disk).phase is Phase.DAMAGED
    with refused(HomeError, "is damaged"):
        volume.open_volume(disk, new, NOBODY)
    with refused(HomeError, "has an encrypted volume already"):
        volume.create(disk, RIGHT, NOBODY, CHEAP)
    sh("mount", "-o", "ro", "/dev/sda3", "/mnt")  # the other partitions stay usable
    say("STAGE damaged")


def create() -> None:
    """Make a volume, for ever: pulled at any moment."""
    sticks(1)
    disk = boot()
    say("BEGIN")
    volume.create(disk, RIGHT, NOBODY, CHEAP)
    say("CREATED")
    time.sleep(1000)


def write() -> None:
    """Commit numbers, for ever: pulled at any moment."""
    sticks(1)
    disk = boot()
    volume.create(disk, RIGHT, NOBODY, CHEAP)
    say("BEGIN")
    for n in range(1_000_000):
        write_json(HOME / "state.json", {"n": n, "ballast": "x" * (n * 7919 % 200_000)})
        say("COMMITTED", n)


def check(number: str, recovery: str = "") -> None:
    """Open the volumes of all sticks and say what is in them; finish two that are unfinished."""
    # quick, where the passphrase is slow on purpose
    opening = luks.typed_recovery_key(Secret(recovery)) if recovery else RIGHT
    finished = 0
    for name in sticks(int(number)):
        disk = boot(name)
        phase = volume.status(disk).phase
        n = -1
        if phase is Phase.LOCKED or finished < 2:
            if phase is Phase.LOCKED:
                volume.open_volume(disk, opening, NOBODY)
            else:
                volume.create(disk, RIGHT, NOBODY, CHEAP)
                finished += 1
            if (HOME / "state.json").exists():
                n = json.loads((HOME / "state.json").read_text())["n"]
            write_json(HOME / "again.json", {})
            volume.close_volume()
        assert phase in (Phase.ABSENT, Phase.UNFINISHED, Phase.LOCKED), phase
        say("FOUND", name, phase, n)
        sh("umount", str(medium.MEDIUM))


def clone_() -> None:
    """Copy the stick, then use the copy alone."""
    first, second = sticks(1, blank=1)
    disk = boot(first)
    volume.create(disk, RIGHT, NOBODY, CHEAP)
    write_json(HOME / "state.json", {"n": 7})
    with refused(UsageError, "no such USB stick"):
        media.other(second, "STICK1", "1", disk)
    with refused(UsageError, "no such USB stick"):
        media.other(disk.name, disk.serial, str(disk.size), disk)
    size = int(Path(f"/sys/block/{second}/size").read_text()) * 512
    target = media.other(second, "STICK1", str(size), disk)
    recovery = luks.generate_recovery_key()
    with refused(PassphraseError, "wrong passphrase"):
        clone.clone(disk, target, (WRONG, recovery), NOBODY, CHEAP)
    clone.clone(disk, target, (RIGHT, recovery), NOBODY, CHEAP)
    volume.close_volume()
    sh("umount", str(medium.MEDIUM))
    copied = boot(second)
    names = [(e.number, e.start, e.sectors, e.type, e.name) for e in table.read(disk).entries]
    again = [(e.number, e.start, e.sectors, e.type, e.name) for e in table.read(copied).entries]
    assert names[:-1] == again[:-1], again
    assert again[-1][-1] == volume.NAME
    for number in (1, 2, 3):
        whole = [Path(f"/dev/{name}{number}").read_bytes() for name in (first, second)]
        assert whole[0] == whole[1], number
    with Path(f"/dev/{first}").open("rb") as one, Path(f"/dev/{second}").open("rb") as two:
        # boot code and its flag; what follows says how long the disk is
        assert one.read(447) == two.read(447)
    volume.open_volume(copied, recovery, NOBODY)
    assert json.loads((HOME / "state.json").read_text()) == {"n": 7}
    volume.close_volume()
    volume.open_volume(copied, RIGHT, NOBODY)
    with refused(HomeError, "in use"):
        media.other(second, "STICK1", str(size), disk)


def too_small() -> None:
    """Refuse a stick that has no room, with the reason."""
    sticks(1)
    disk = boot()
    with refused(HomeError, "too small"):
        volume.create(disk, RIGHT, NOBODY, CHEAP)
    assert len(table.read(disk).entries) == 4


def protected() -> None:
    """Refuse a write-protected stick, with the reason, and know it before it is tried."""
    sticks(1)
    disk = boot()
    for command in ("--setro", "--setrw"):  # as the image holds every disk, and as it was let go
        sh("blockdev", command, str(disk.device))
        found = volume.status(disk)
        assert (found.phase, found.protected) == (Phase.ABSENT, True), command
    with refused(HomeError, "write-protected"):
        volume.create(disk, RIGHT, NOBODY, CHEAP)


def helper() -> None:
    """Drive the helper by its client; kill it and all it started at random moments."""
    sticks(1)
    words = [sys.executable, "-m", "wizard.stick"]
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    stick = Stick(words)
    assert stick.status().origin is Origin.ORDINARY
    with refused(NotSupportedError, "not started from a Build USB stick"):
        stick.create(RIGHT)
    boot()
    for bad in (["format"], ["keyboard", "--x"], ["answers-mount"], ["open", "/dev/sda"], []):
        ended = subprocess.run([*words, *bad], capture_output=True, text=True, input="{}")
        assert json.loads(ended.stdout)["error"]["kind"] == "UsageError", bad
    for bad in ("/dev/vda1", "/dev/sda1", "/dev/sda", "../sda1", "/dev/sdz1"):
        with refused(UsageError, "not a partition of"):
            stick.mount_other(bad)
    with refused(UsageError, "the mode is"):
        stick.mount_answers("rw,suid")
    with refused(PassphraseError, "too weak"):
        stick.create(Secret("short"))
    given = json.dumps({"passphrase": RIGHT.reveal()}).encode()
    for _ in range(5):
        process = subprocess.Popen(
            [*words, "create"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(given)
        process.stdin.close()
        time.sleep(random.uniform(0.5, 12))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        phase = stick.status().phase
        say("KILLED at", phase)
        if phase in (Phase.LOCKED, Phase.OPEN):
            break
    if stick.status().phase in (Phase.ABSENT, Phase.UNFINISHED):
        started = time.monotonic()
        key = stick.create(RIGHT)
        say("FIGURE helper create", round(time.monotonic() - started, 1))
        stick.close()
        stick.recover(key, WRONG)
        stick.close()
        stick.open(WRONG)
    else:
        stick.open(RIGHT)
    assert stick.status().phase is Phase.OPEN
    folder = stick.mount_answers("ro")
    chosen = settings.Settings("us", "Europe/Berlin", "C.UTF-8")
    stick.remember(chosen)
    assert settings.remembered(folder) == chosen
    try:
        (folder / "no").write_text("")
    except OSError:
        pass
    else:
        raise AssertionError("still writable")


SCENARIOS = {
    "volume_life": volume_life,
    "create": create,
    "write": write,
    "check": check,
    "clone": clone_,
    "too_small": too_small,
    "protected": protected,
    "helper": helper,
}


def main(scenario: str, *words: str) -> int:
    try:
        SCENARIOS[scenario](*words)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Networks that were joined, kept in the encrypted volume: NetworkManager's folder is shown there.

Without a volume they are in memory, where NetworkManager put them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from wizard.errors import HomeError
from wizard.home.files import explained, read_bytes, write_atomic
from wizard.stick import commands
from wizard.stick.medium import mounted_at

PROFILES = Path("/etc/NetworkManager/system-connections")
_FOLDER = "networks"


def keep(system: Path) -> None:
    """Have NetworkManager keep its profiles in a folder of `system`, those it has now, too."""
    if not PROFILES.is_dir() or mounted_at(PROFILES):
        return
    kept = system / _FOLDER
    with explained(kept, "prepare"):
        kept.mkdir(mode=0o700, exist_ok=True)
    # what was joined at this start is newer than what the volume knows of the same network
    _put(_profiles(), kept)
    commands.run("mount", "--bind", kept, PROFILES, doing="show NetworkManager the known networks")
    _tell()


def release() -> None:
    """Let go of the volume; what is joined stays so until the computer is switched off."""
    mount = mounted_at(PROFILES)
    if mount is None:
        return
    joined = _profiles()
    commands.run("umount", PROFILES, doing="let go of the known networks")
    _put(joined, PROFILES)
    _tell()


def _profiles() -> dict[str, bytes]:
    found = [path for path in PROFILES.iterdir() if path.suffix == ".nmconnection"]
    return {path.name: read_bytes(path) or b"" for path in found}


def _put(profiles: dict[str, bytes], folder: Path) -> None:
    for name, data in profiles.items():
        write_atomic(folder / name, data)


def _tell() -> None:
    with suppress(HomeError):  # it reads them when it starts, if it does not run
        commands.attempt("nmcli", "connection", "reload")

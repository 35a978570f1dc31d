"""Whether the shared configuration is alive, and how it is brought back."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from wizard.agent.config import Config
from wizard.agent.errors import AgentError
from wizard.agent.guard import apart, run
from wizard.agent.peers import MAXIMUM_BYTES

log = logging.getLogger(__name__)
PROOF = "peers.json"
"""The file that the build machine puts into every deployment before its first machine is
configured: reading it proves mount, endpoint and credentials."""


def device_of(path: Path, table: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the device number (`0:53`) of what is mounted exactly there; None if nothing is.

    From the kernel's table: asking the file system itself could hang.
    """
    found = None
    for line in table.read_text(errors="surrogateescape").splitlines():
        fields = line.split()
        # the kernel writes space, tab, newline and backslash of a path in octal
        if len(fields) > 4 and fields[4].replace("\\040", " ") == str(path):
            found = fields[2]
    return found


def read_shared(config: Config, name: str, seconds: float = 10.0) -> bytes:
    """Return at most MAXIMUM_BYTES + 1 bytes of a file in the shared configuration; none if there
    is no such file. AgentError if nothing is mounted, or does not answer."""

    def read() -> bytes:
        try:
            descriptor = os.open(config.shared_config / name, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAXIMUM_BYTES + 1)

    if device_of(config.shared_config) is None:
        raise AgentError(f"{config.shared_config} is not mounted")
    return apart(f"{config.shared_config}/{name}", read, seconds)


def ensure(config: Config, seconds: float = 10.0) -> list[str]:
    """Check the mount, and mount again if it does not answer; returns what was done.

    AgentError if it is still not alive afterwards.
    """
    done = []
    try:
        proof = read_shared(config, PROOF, seconds)
    except AgentError as error:
        log.warning("%s; restarting %s", error, config.shared_config_unit)
        release(config.shared_config)
        run("systemctl", "restart", config.shared_config_unit, seconds=40)
        done = [f"restarted {config.shared_config_unit} ({error})"]
        proof = read_shared(config, PROOF, seconds)
    if not proof:
        # the mount answers: mounting it again would not bring the file
        raise AgentError(f"{config.shared_config} has no {PROOF}; deploy again")
    return done


def release(path: Path) -> None:
    """Take away a dead FUSE mount: whoever waits for it gets an error and goes on.

    Without this, even stopping the unit could wait for ever.
    """
    device = device_of(path)
    if device is None:
        return
    abort = Path("/sys/fs/fuse/connections") / device.partition(":")[2] / "abort"
    try:
        abort.write_text("1")
    except OSError as error:
        log.info("%s cannot be aborted: %s", path, error.strerror)
    try:
        run("umount", "--lazy", str(path), seconds=10)
    except AgentError as error:
        log.info("%s", error)

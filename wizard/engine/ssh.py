"""SSH to one machine with paramiko: exactly one host key accepted, exactly one key offered.

Neither `~/.ssh`, nor an agent, nor any ssh configuration is read. Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import io
import logging
import shlex
import time
from collections.abc import Sequence
from typing import BinaryIO

import paramiko

from wizard.errors import MachineError
from wizard.machines.job import Connection
from wizard.secrets import Secret

log = logging.getLogger(__name__)
# it logs a traceback for every try at a machine that is still booting; our errors say as much
logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)

CONNECT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class HostKeyError(MachineError):
    """The machine showed another host key than the pinned one."""


class _Pinned(paramiko.MissingHostKeyPolicy):
    def __init__(self, host_key: str) -> None:
        self.kind, self.data = host_key.split()[:2]

    def missing_host_key(
        self, _client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        if (key.get_name(), key.get_base64()) != (self.kind, self.data):
            raise HostKeyError(
                "the machine shows a host key that is not its own",
                where=hostname,
                why=f"it shows {key.get_name()} {key.fingerprint}",
                cure="somebody may stand between you and the machine, or another machine has taken"
                " its address; check in the provider's console before going on",
            )


def private_key(key: Secret) -> paramiko.PKey:
    """Return an OpenSSH private key (ed25519) as paramiko's object; it stays in memory."""
    return paramiko.Ed25519Key.from_private_key(io.StringIO(key.reveal()))


def connect(connection: Connection, seconds: float = CONNECT_SECONDS) -> paramiko.SSHClient:
    """Return a connected client; the caller closes it. Raises HostKeyError for a wrong host key,
    MachineError for anything else within `seconds`."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_Pinned(connection.host_key))
    try:
        client.connect(
            connection.address,
            port=connection.port,
            username="root",
            pkey=private_key(connection.private_key),
            allow_agent=False,
            look_for_keys=False,
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
        )
    except HostKeyError:
        client.close()
        raise
    except (paramiko.SSHException, OSError, EOFError) as error:
        client.close()
        raise MachineError(
            "cannot connect with SSH",
            where=f"{connection.address} port {connection.port}",
            why=str(error) or type(error).__name__,
            cure="check that the machine runs; if this computer has moved to another network: "
            "build-usb let-in",
        ) from error
    return client


def run(
    client: paramiko.SSHClient,
    argv: Sequence[str],
    stdin: str | bytes = "",
    seconds: float = 60.0,
) -> tuple[int, str, str]:
    """Run a program and return (status, output, error output); secrets go through `stdin`."""
    writer, out, err = client.exec_command(shlex.join(argv), timeout=seconds)
    if stdin:
        writer.write(stdin)
    writer.channel.shutdown_write()
    try:
        output = out.read().decode(errors="replace")
        errors = err.read().decode(errors="replace")
    except TimeoutError as error:
        raise MachineError(
            "a program on the machine did not end in time",
            why=f"{argv[0]} was silent for {seconds:.0f} s",
            cure="run the same command again; it continues where it stopped",
        ) from error
    return out.channel.recv_exit_status(), output, errors


def fetch(
    client: paramiko.SSHClient,
    argv: Sequence[str],
    into: BinaryIO,
    stdin: str = "",
    seconds: float = 600.0,
) -> int:
    """Run a program, write what it prints `into` a file and return how many bytes that were.
    MachineError if it fails, or is silent for `seconds`."""
    writer, out, err = client.exec_command(shlex.join(argv), timeout=seconds)
    writer.write(stdin)
    writer.channel.shutdown_write()
    count = 0
    try:
        while chunk := out.read(1 << 18):
            into.write(chunk)
            count += len(chunk)
        errors = err.read().decode(errors="replace")
    except TimeoutError as error:
        raise MachineError(
            "a program on the machine did not end in time",
            why=f"{argv[0]} was silent for {seconds:.0f} s",
            cure="run the same command again",
        ) from error
    status = out.channel.recv_exit_status()
    if status:
        raise MachineError(
            "a program on the machine failed",
            why=f"{argv[0]} ended with {status}: {errors.strip()[-500:]}",
            cure="run the same command again",
        )
    return count


def wait_for_ssh(address: str, port: int, host_key: str, key: Secret, deadline: float) -> None:
    """Return when root can log in with `key` and the machine shows `host_key`; tries with back-off
    for `deadline` seconds, then raises the last MachineError."""
    connect_until(Connection(address, port, key, host_key), (host_key,), deadline)[0].close()


def connect_until(
    connection: Connection, host_keys: Sequence[str], seconds: float
) -> tuple[paramiko.SSHClient, str]:
    """Return a connected client and which of `host_keys` the machine showed, trying each in turn
    with back-off for `seconds`; raises the last MachineError."""
    end = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        for host_key in host_keys:
            pinned = Connection(
                connection.address, connection.port, connection.private_key, host_key
            )
            try:
                return connect(pinned, max(1.0, min(CONNECT_SECONDS, end - time.monotonic()))), (
                    host_key
                )
            except HostKeyError as error:
                # on its first boot a machine may show the image's key before ours is installed
                last: MachineError = error
            except MachineError as error:
                last = error
                break
        if time.monotonic() + pause > end:
            raise last
        log.debug("%s: %s", connection.address, last.why)
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)

"""The worker process: its protocol, its errors, and that secrets stay inside."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.machine_jobs import SECRETS, machine_job
from wizard.engine.configure import configure
from wizard.engine.ssh import HostKeyError, connect, wait_for_ssh
from wizard.errors import InterruptedRunError, MachineError
from wizard.events import Event
from wizard.machines.job import Connection, MachineJob
from wizard.secrets import Secret


def key_pair() -> tuple[Secret, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return Secret(private), public.decode()


class Machine(paramiko.ServerInterface):
    """An SSH server that lets in and answers every command the same way."""

    def __init__(self, output: bytes, status: int) -> None:
        self.output, self.status = output, status

    def check_auth_publickey(self, _user: str, _key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, _kind: str, _channel: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, _command: bytes) -> bool:
        def answer() -> None:
            channel.sendall_stderr(self.output)
            channel.send_exit_status(self.status)
            channel.close()

        threading.Thread(target=answer, daemon=True).start()
        return True


@pytest.fixture
def ssh_server() -> Iterator[tuple[int, str]]:
    """A server whose every command fails and prints one of the job's secrets."""
    private, public = key_pair()
    host_key = paramiko.Ed25519Key.from_private_key(__import__("io").StringIO(private.reveal()))
    listener = socket.create_server(("127.0.0.1", 0))
    transports = []

    def serve() -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connected)
            transport.add_server_key(host_key)
            # with an event it does not wait: a client that refuses the key is no error here
            machine = Machine(f"no: {SECRETS[0]}\n".encode(), 3)
            transport.start_server(threading.Event(), machine)
            transports.append(transport)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], public
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for transport in transports:
        transport.close()
    thread.join(timeout=5)


def job_at(port: int, host_key: str) -> MachineJob:
    return machine_job(connection=Connection("127.0.0.1", port, key_pair()[0], host_key))


def test_a_failure_names_machine_and_phase_and_hides_secrets(ssh_server: tuple[int, str]) -> None:
    events: list[Event] = []
    with pytest.raises(MachineError) as caught:
        configure(job_at(*ssh_server), events.append, "configure-web1")
    text = str(caught.value)
    assert "web1 (base)" in text
    assert "what to do" in text
    for secret in SECRETS:
        assert secret not in text
        assert all(secret not in event.to_json() for event in events)


def test_another_host_key_is_refused(ssh_server: tuple[int, str]) -> None:
    port, right = ssh_server
    wrong = key_pair()[1]
    with pytest.raises(MachineError, match="cannot connect with SSH"):
        configure(job_at(port, wrong), lambda _event: None, "step")
    with pytest.raises(HostKeyError):
        connect(Connection("127.0.0.1", port, key_pair()[0], wrong))
    connect(Connection("127.0.0.1", port, key_pair()[0], right)).close()


def test_waiting_for_ssh_ends_at_its_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(MachineError, match="cannot connect"):
        wait_for_ssh("127.0.0.1", port, key_pair()[1], key_pair()[0], 0.5)
    assert time.monotonic() - started < 3


def test_a_cancelled_run_stops_soon_and_leaves_no_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cancelled = threading.Event()
        cancelled.set()
        job = job_at(silent.getsockname()[1], key_pair()[1])
        with pytest.raises(InterruptedRunError):
            configure(job, lambda _event: None, "step", cancelled)
    running = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True)
    assert not [
        line
        for line in running.stdout.splitlines()
        if line.split()[0] == str(__import__("os").getpid()) and "wizard.engine.worker" in line
    ]


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"deployment": "x"}'])
def test_a_bad_job_is_one_event_and_no_traceback(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wizard.engine.worker"],
        input=line + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (event,) = [json.loads(text) for text in done.stdout.splitlines()]
    assert event["kind"] == "step-failed"
    assert "cannot be read" in event["message"]
    assert "Traceback" not in done.stderr


def test_the_worker_dies_with_its_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        job = job_at(silent.getsockname()[1], key_pair()[1])
        worker = subprocess.Popen(
            [sys.executable, "-m", "wizard.engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(job.to_plain()) + "\n")
        worker.stdin.flush()
        connected, _ = silent.accept()  # it is waiting for the banner now
        worker.stdin.close()
        assert worker.wait(timeout=5) == 1
        connected.close()


def test_a_job_survives_the_pipe() -> None:
    job = machine_job()
    assert MachineJob.from_plain(json.loads(json.dumps(job.to_plain()))) == job

"""How the status page comes to this computer: through a real sshd with the machines' settings."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import paramiko
import pytest

from wizard.autoscaler.serve import Server
from wizard.engine import ssh
from wizard.errors import MachineError
from wizard.home import keys
from wizard.machines.job import Connection
from wizard.machines.templates import render
from wizard.operations import dashboard
from wizard.secrets import Secret

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(
    SSHD is None or os.geteuid() != 0, reason="needs Debian's package openssh-server, and root"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def machine(folder: Path, page_port: int) -> Iterator[Connection]:
    """An sshd as autoscalers have it, whose page is at `page_port`."""
    seed, port = Secret("a seed of this test"), free_port()
    host, user = keys.derived_key_pair(seed, "host"), keys.derived_key_pair(seed, "user")
    folder.chmod(0o755)
    for name, text in (("host", host.private.reveal()), ("authorized", user.public)):
        (folder / name).write_text(text + "\n")
        (folder / name).chmod(0o600)
    config = render("common/sshd.conf.j2", ssh_port=port, page_port=page_port)
    own = [line for line in config.splitlines() if not line.startswith("HostKey")]
    own += [f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/authorized"]
    own += ["ListenAddress 127.0.0.1", "StrictModes no", "PidFile none"]
    (folder / "config").write_text("\n".join(own) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD is not None
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL
    )
    try:
        connection = Connection("127.0.0.1", port, user.private, host.public)
        ssh.wait_for_ssh("127.0.0.1", port, host.public, user.private, 20)
        yield connection
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def page() -> Iterator[Server]:
    server = Server(lambda: {"leader": "scaler1"}, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_the_page_comes_through_and_nothing_else_does(
    page: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(page.server_address[1])
    monkeypatch.setattr(dashboard, "PAGE_PORT", port)
    with machine(tmp_path, port) as reached:
        gone = Connection("127.0.0.1", free_port(), reached.private_key, reached.host_key)
        lines = dashboard._Lines([gone, reached])
        server = dashboard._Server(("127.0.0.1", 0), lines)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
            for _ in range(3):
                assert client.get("/status.json").json() == {"leader": "scaler1"}
        # sshd passes nothing else on
        with closing(ssh.connect(reached)) as shell:
            transport = shell.get_transport()
            assert transport is not None
            for other in (("127.0.0.1", reached.port), ("127.0.0.2", port)):
                with pytest.raises(paramiko.ChannelException, match="prohibited"):
                    transport.open_channel("direct-tcpip", other, ("127.0.0.1", 0), timeout=10)
            with pytest.raises(paramiko.SSHException):
                transport.request_port_forward("127.0.0.1", 0)
        server.shutdown()
        server.server_close()
        lines.close()
        thread.join(10)


def test_an_autoscaler_without_the_page_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(dashboard, "PAGE_PORT", port)
    with machine(tmp_path, port) as reached:
        lines = dashboard._Lines([reached])
        with pytest.raises(MachineError, match="no autoscaler shows its page"):
            lines.open()
        server = dashboard._Server(("127.0.0.1", 0), lines)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        answer = httpx.get(f"http://127.0.0.1:{server.server_address[1]}/", trust_env=False)
        assert answer.status_code == 502
        server.shutdown()
        server.server_close()
        thread.join(10)

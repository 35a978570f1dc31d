"""SSH with the deployment's own files, against a real sshd on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wizard.errors import HomeError
from wizard.home import Home, SecretStore, Vault
from wizard.home.home import DeploymentHome
from wizard.home.keys import (
    SshHost,
    generate_age_identity,
    generate_ssh_key,
    key_pair,
    open_ssh,
    public_key,
    read_ssh_hosts,
    write_ssh_files,
)
from wizard.secrets import Secret

OTHER_KEY = public_key(generate_ssh_key())


@pytest.fixture
def demo(tmp_path: Path) -> DeploymentHome:
    # what ssh's configuration could misread
    return Home.open(tmp_path / "the home, 100%h ~ $HOME").deployment("demo")


@pytest.fixture
def store(demo: DeploymentHome) -> SecretStore:
    return demo.vault(Vault(generate_age_identity()))


def test_key_pairs_are_kept(store: SecretStore, tmp_path: Path) -> None:
    pair = key_pair(store, "ssh_key")
    assert key_pair(store, "ssh_key") == pair
    assert key_pair(store, "other") != pair
    assert "***" in repr(pair)
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(pair.private.reveal())
    told = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == pair.public
    with pytest.raises(HomeError, match="damaged"):
        public_key(Secret("rubbish"))


def test_ssh_files_come_back_and_are_replaced(demo: DeploymentHome) -> None:
    assert read_ssh_hosts(demo) == []
    hosts = [
        SshHost("db1", "127.77.0.12", 22, OTHER_KEY),
        SshHost("web1", "2001:db8::1", 1035, public_key(generate_ssh_key())),
    ]
    write_ssh_files(demo, hosts[::-1])
    assert read_ssh_hosts(demo) == hosts
    assert demo.known_hosts.read_text().startswith(f"127.77.0.12 {OTHER_KEY} db1\n[2001:db8::1]:")
    write_ssh_files(demo, hosts[:1])
    assert read_ssh_hosts(demo) == hosts[:1]
    demo.known_hosts.write_text("@cert-authority * ssh-ed25519 AAAA x\n")
    with pytest.raises(HomeError, match="damaged"):
        read_ssh_hosts(demo)


@pytest.mark.parametrize(
    "host",
    [
        SshHost("web1\nProxyCommand x", "192.0.2.1", 22, OTHER_KEY),
        SshHost("web1", "-oProxyCommand=x", 22, OTHER_KEY),
        SshHost("web1 *", "192.0.2.1", 22, OTHER_KEY),
        SshHost("web1", "192.0.2.1", 0, OTHER_KEY),
        SshHost("web1", "192.0.2.1", 22, "ssh-rsa " + OTHER_KEY.split()[1]),
        SshHost("web1", "192.0.2.1", 22, OTHER_KEY + "\n* " + OTHER_KEY),
        SshHost("web1", "192.0.2.1", 22, "ssh-ed25519 AAAA"),
    ],
)
def test_no_name_or_key_can_add_to_the_files(demo: DeploymentHome, host: SshHost) -> None:
    with pytest.raises(HomeError):
        write_ssh_files(demo, [host])
    assert not demo.ssh_config.exists()


# -- a real server -------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, store: SecretStore) -> Iterator[SshHost]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        pytest.fail("these tests need sshd: apt install openssh-server")
    if os.geteuid() == 0:
        # where sshd, started by root, confines its half that talks to the network
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    files = {
        "host_key": key_pair(store, "host_key").private.reveal(),
        "authorized": key_pair(store, "ssh_key").public + "\n",
        "config": f"""
            ListenAddress 127.0.0.1:{port}
            HostKey {tmp_path}/host_key
            PidFile none
            AuthorizedKeysFile {tmp_path}/authorized
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
        """,
    }
    for name, content in files.items():
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(content)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(tmp_path / "config")], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
        yield SshHost("web1", "127.0.0.1", port, key_pair(store, "host_key").public)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def ready(demo: DeploymentHome, server: SshHost) -> DeploymentHome:
    write_ssh_files(demo, [server])
    if os.geteuid() != 0:
        config = demo.ssh_config.read_text()
        demo.ssh_config.write_text(config.replace("root", pwd.getpwuid(os.geteuid()).pw_name))
    return demo


def test_ssh_takes_the_key_from_memory(
    ready: DeploymentHome, store: SecretStore, capfd: pytest.CaptureFixture[str]
) -> None:
    key = key_pair(store, "ssh_key").private
    assert open_ssh(ready, key, ["web1", "echo here; cat >/dev/null; exit 7"]) == 7
    assert capfd.readouterr().out == "here\n"
    marker = b"BEGIN OPENSSH PRIVATE KEY"
    files = [path for path in ready.home.path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if marker in path.read_bytes()]


def test_another_key_is_not_let_in(
    ready: DeploymentHome, capfd: pytest.CaptureFixture[str]
) -> None:
    assert open_ssh(ready, generate_ssh_key(), ["web1", "true"]) == 255
    assert "Permission denied" in capfd.readouterr().err


def test_another_host_key_is_not_accepted(
    ready: DeploymentHome,
    store: SecretStore,
    server: SshHost,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_ssh_files(ready, [SshHost("web1", server.address, server.port, OTHER_KEY)])
    known = ready.known_hosts.read_text()
    key = key_pair(store, "ssh_key").private
    assert open_ssh(ready, key, ["web1", "true"]) == 255
    assert "Host key verification failed" in capfd.readouterr().err
    assert ready.known_hosts.read_text() == known


def test_the_users_own_ssh_is_neither_read_nor_written(
    ready: DeploymentHome, store: SecretStore, tmp_path: Path
) -> None:
    """Run under a file watch: nothing below the user's ~/.ssh or /etc/ssh is opened."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    program = (
        "import sys; from pathlib import Path; from wizard.home import Home;"
        "from wizard.home.keys import open_ssh; from wizard.secrets import Secret;"
        "demo = Home.open(Path(sys.argv[1])).deployment('demo');"
        "raise SystemExit(open_ssh(demo, Secret(sys.stdin.read()), ['web1', 'exit 3']))"
    )
    ran = subprocess.run(
        [
            *(strace, "-f", "-e", "trace=%file,execve", "-o", str(trace)),
            *(sys.executable, "-c", program, str(ready.home.path)),
        ],
        input=key_pair(store, "ssh_key").private.reveal(),
        text=True,
        check=False,
        capture_output=True,
    )
    assert ran.returncode == 3, ran.stderr
    lines = trace.read_text().splitlines()
    started = next(number for number, line in enumerate(lines) if '"ssh", "-F"' in line)
    own = [line for line in lines[started:] if "/.ssh" in line or "/etc/ssh" in line]
    assert not own
    assert "PRIVATE KEY" not in trace.read_text()


def test_without_machines_says_deploy_first(demo: DeploymentHome) -> None:
    with pytest.raises(HomeError, match="no machine") as error:
        open_ssh(demo, generate_ssh_key(), ["web1"])
    assert "deploy" in error.value.cure

"""What goes wrong on a person's computer: a clear error, the next step, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.deployments import REHEARSAL
from tests.lab.elsewhere import Elsewhere, Person, namespaces, person
from wizard.errors import ExitCode
from wizard.lab import basetree

pytestmark = pytest.mark.lab

LOOPBACK = "ip link set lo up"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def someone() -> Iterator[Person]:
    with person() as made:
        yield made


def wait_for(condition: Callable[[], object], deadline: float = 60) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def fails(rehearsal: Elsewhere, code: ExitCode, *words: str) -> str:
    """Deploy, which must end with this code and an error of these words; return the error."""
    done = rehearsal.run("deploy", REHEARSAL, check=False)
    assert done.returncode == code, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    error = done.stderr.rpartition("build-usb: ")[2]
    assert "what to do:" in error
    for word in words:
        assert word in error, error
    return error


# -- root ----------------------------------------------------------------------------------------


def test_without_sudo_it_is_said_and_with_sudo_all_of_it_works(
    someone: Person, base_tree: Path
) -> None:
    programs = someone.folder / "programs"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name != "sudo":
            (programs / program.name).symlink_to(program)
    fails(someone.rehearsal(PATH=str(programs)), ExitCode.PROVIDER, "there is no sudo", "root")
    rehearsal = someone.rehearsal(PATH="/usr/local/bin:/usr/bin:/bin")
    fails(rehearsal, ExitCode.PROVIDER, "sudo does not give it", "who may use sudo")
    assert not (rehearsal.home / "lab").exists()

    someone.may_use_sudo()
    rehearsal.deploy()
    assert rehearsal.answers()
    assert json.loads(rehearsal.run("status", "--json").stdout)["healthy"]
    assert rehearsal.on("web1", "hostname") == "web1\n"
    rehearsal.run("destroy", "--yes")
    assert rehearsal.left() == []
    owner = someone.folder.stat().st_uid
    assert {path.lstat().st_uid for path in rehearsal.home.rglob("*")} == {owner}


# -- base tree -----------------------------------------------------------------------------------


def test_a_half_built_base_tree_is_no_base_tree_and_no_network_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = folder / "trees"
    monkeypatch.setenv("BUILD_USB_BASE_TREE", str(trees))
    tree = basetree.location(folder)
    partial = tree.with_name(f"{tree.name}.partial")
    rehearsal = Elsewhere(folder / "home", folder)
    run = subprocess.Popen(
        rehearsal.argv("deploy", REHEARSAL),
        env=rehearsal.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for((partial / "var/lib/apt/lists/partial").exists)
        wait_for(lambda: list((partial / "var/lib/apt/lists").glob("*_InRelease")))
    finally:
        run.kill()
        run.wait()

    def builders() -> list[str]:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        return [line for line in listed.stdout.splitlines() if str(trees) in line]

    # nobody goes on building what nobody asks for any more
    wait_for(lambda: not builders(), 20)
    assert partial.is_dir()
    assert not tree.exists()

    with namespaces("--net", script=LOOPBACK) as inside:
        offline = Elsewhere(folder / "home", folder, prefix=inside)
        fails(offline, ExitCode.PROVIDER, "mirrors cannot be reached", "network", "run again")
    assert not partial.exists()
    assert not tree.exists()
    assert rehearsal.left() == []


# -- ports ---------------------------------------------------------------------------------------

LISTENER = """
import socket, time
listener = socket.create_server(("0.0.0.0", 443))
print("listening", flush=True)
time.sleep(3600)
"""


def test_a_port_in_use_is_named_with_its_user_and_no_network_is_needed(
    folder: Path, base_tree: Path
) -> None:
    # a network of its own: other rehearsals of this computer keep their ports
    with namespaces("--net", script=LOOPBACK) as inside:
        rehearsal = Elsewhere(folder / "home", folder, prefix=inside)
        with subprocess.Popen(
            [*inside, rehearsal.python, "-c", LISTENER], stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout
            assert other.stdout.readline() == "listening\n"
            error = fails(rehearsal, ExitCode.PROVIDER, "port 443 of 127.77.", "in use")
            assert f"pid={other.pid}" in error
            other.kill()
        rehearsal.deploy()
        assert json.loads(rehearsal.run("status", "--json").stdout)["healthy"]
        rehearsal.run("destroy", "--yes")
    assert rehearsal.left() == []


# -- room ----------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_with_room_the_same_command_continues(
    folder: Path, base_tree: Path
) -> None:
    disk = folder / "disk"
    disk.mkdir()

    def room(size: str) -> None:
        remount = ["mount", "-o", f"remount,size={size}", str(disk)]
        subprocess.run([*inside, *remount], check=True)

    mount = f"mount -t tmpfs -o size=24k,mode=0700 none {disk}"
    with namespaces("--mount", script=mount) as inside:
        rehearsal = Elsewhere(disk / "home", folder, prefix=inside)
        fails(rehearsal, ExitCode.HOME, "no space left", "free some space")
        room("100m")
        fails(rehearsal, ExitCode.PROVIDER, "no room", "MiB are free", "free some space")
        room("2g")
        rehearsal.deploy()
        status = json.loads(rehearsal.run("status", "--json").stdout)
        assert status["healthy"], status
        # what fills up under a running site
        filler = f"cat /dev/zero > {disk}/filler 2>/dev/null; test -s {disk}/filler"
        subprocess.run([*inside, "sh", "-c", filler], check=True)
        fails(rehearsal, ExitCode.HOME, "no space left", "unchanged")
        subprocess.run([*inside, "rm", f"{disk}/filler"], check=True)
        rehearsal.deploy()
        status = json.loads(rehearsal.run("status", "--json").stdout)
        assert status["healthy"], status
        rehearsal.run("destroy", "--yes")
        assert rehearsal.left() == []


# -- the lab dies --------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["daemon", "keeper"])
def test_the_lab_killed_under_a_deploy_is_healed_by_the_next(
    folder: Path, base_tree: Path, victim: str
) -> None:
    rehearsal = Elsewhere(folder / "home", folder)
    with subprocess.Popen(
        rehearsal.argv("deploy", REHEARSAL, "--json"),
        env=rehearsal.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout
        configuring = {"configure:web1", "configure:db1"}
        for line in run.stdout:
            event = json.loads(line)
            if event["kind"] == "step-started":
                configuring.discard(event["step"])
            if not configuring:
                break
        keeper, _, daemon = rehearsal.laboratory.processes()
        os.kill({"daemon": daemon, "keeper": keeper}[victim], signal.SIGKILL)
        _, errors = run.communicate(timeout=180)
    assert run.returncode in (ExitCode.PROVIDER, ExitCode.MACHINE), errors[-3000:]
    assert "Traceback" not in errors
    assert "what to do:" in errors
    before = {name: machine.id for name, machine in rehearsal.state().machines.items()}
    rehearsal.deploy()
    # the same machines, booted again; not others beside them
    assert {name: m.id for name, m in rehearsal.state().machines.items()} == before
    assert rehearsal.answers()
    assert json.loads(rehearsal.run("status", "--json").stdout)["healthy"]
    rehearsal.run("destroy", "--yes")
    assert rehearsal.left() == []


# -- paths ---------------------------------------------------------------------------------------


def test_a_home_with_a_long_and_odd_path(folder: Path, base_tree: Path) -> None:
    odd = folder / "a folder, with: spaces" / ("and a very long name " + "x" * 100)
    odd.mkdir(parents=True, mode=0o700)
    rehearsal = Elsewhere(odd / "home", folder)
    rehearsal.deploy()
    assert rehearsal.answers()
    assert rehearsal.on("db1", "hostname") == "db1\n"
    rehearsal.run("destroy", "--yes")
    assert rehearsal.left() == []

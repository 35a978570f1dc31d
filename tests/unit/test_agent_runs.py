"""How the agent runs: limits, lock, memory; packed, alone, and with what a deploy writes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wizard.agent import config as configuration
from wizard.agent import health, registry
from wizard.agent.commands import COMMANDS, main, perform, status
from wizard.agent.errors import AgentError, TimeLimitError
from wizard.agent.guard import TimeLimit, apart, run
from wizard.agent.mount import device_of
from wizard.agent.state import Places, held_for, locked, read_last, record, write_whole
from wizard.machines.agent_zipapp import build, machine_config
from wizard.machines.job import (
    ApplicationSettings,
    BucketSettings,
    Connection,
    DatabaseSettings,
    MachineJob,
    Peer,
    Phase,
    TlsSettings,
)
from wizard.plan import firewall as planned
from wizard.rules import Role
from wizard.secrets import Secret

JOB = MachineJob(
    deployment="demo",
    name="web1",
    role=Role.WEBSERVER,
    phase=Phase.BASE,
    connection=Connection("127.0.0.1", 22, Secret("private-key-value"), "ssh-ed25519 AAAA"),
    mode="development",
    timezone="UTC",
    ssh_port=2222,
    private_address="10.77.0.11",
    network_cidr="10.77.0.0/24",
    build_machine="10.77.0.1",
    memory=1024,
    firewall=True,
    rules=tuple(
        {
            "port": rule.port,
            "protocol": rule.protocol,
            "source": {
                "kind": str(rule.source.kind),
                "role": rule.source.role and str(rule.source.role),
                "networks": list(rule.source.networks),
            },
            "why": rule.why,
        }
        for rule in planned.rules(
            (Role.WEBSERVER, Role.DATABASE), ssh_port=2222, database_port=2035, proxied=True
        )
        if rule.target is Role.WEBSERVER
    ),
    peers=(Peer("db1", Role.DATABASE, "10.77.0.12"),),
    hosts=("www.rehearsal.test", "127.77.0.11"),
    bucket=BucketSettings("bucket", "http://10.77.0.1:9000", "here", "access-key-value"),
    database=DatabaseSettings("mariadb", "10.77.0.12", 2035, "site", "site", "PEM"),
    tls=TlsSettings("https://acme.test/dir", "editor@rehearsal.test"),
    application=ApplicationSettings("wordpress", "Site", "editor", "editor@x.test", "en_US"),
    secrets={"database_password": Secret("database-password-value")},
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(
        config=tmp_path / "machine.json",
        state=tmp_path / "state",
        runtime=tmp_path / "run",
        ufw=tmp_path / "ufw",
        ufw_defaults=tmp_path / "default-ufw",
        nginx_edge=tmp_path / "nginx-edge.conf",
    )


def test_what_a_deploy_writes_is_what_the_agent_reads() -> None:
    written = json.dumps(machine_config(JOB))
    assert "-value" not in written
    config = configuration.parse(json.loads(written))
    assert (config.name, config.role, config.ssh_port) == ("web1", "webserver", 2222)
    assert config.hosts == JOB.hosts
    assert [(p.name, p.role, p.address) for p in config.peers] == [
        ("db1", "database", "10.77.0.12")
    ]
    assert {rule.kind for rule in config.rules} == {"build-machine", "role", "networks"}
    assert len(config.rules) == len(JOB.rules)


def test_a_job_without_ssh_for_the_build_machine_is_refused() -> None:
    with pytest.raises(AgentError, match="build machine"):
        configuration.parse(json.loads(json.dumps(machine_config(replace(JOB, rules=())))))


def test_the_zipapp_is_reproducible_and_holds_only_the_agent() -> None:
    first = build()
    assert first == build()
    assert first.startswith(b"#!/usr/bin/python3 -I\n")
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert names == sorted(names)
    assert {name.rpartition("/")[0] for name in names} == {"", "wizard", "wizard/agent"}


def test_the_zipapp_runs_alone(tmp_path: Path) -> None:
    agent = tmp_path / "agent.pyz"
    agent.write_bytes(build())
    # as another user's program would be: no site packages, nothing of the checkout
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(agent), "status"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={},
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "machine.json" in json.loads(done.stdout)["problems"][-1]
    assert len(done.stdout.splitlines()) == 1
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", str(agent), "status"],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    modules = {line.rpartition("|")[2].strip() for line in loaded.splitlines() if "|" in line}
    assert "wizard.agent.commands" in modules
    assert {m for m in modules if m.startswith("wizard.") and "agent" not in m} == set()


def test_what_hangs_is_left_behind() -> None:
    started = time.monotonic()

    def hang() -> bytes:
        time.sleep(60)
        return b""

    with pytest.raises(TimeLimitError, match="the mount: no answer"):
        apart("the mount", hang, 0.2)
    assert time.monotonic() - started < 5


def test_work_apart_gives_its_bytes_or_its_error(tmp_path: Path) -> None:
    big = b"x" * 300000
    assert apart("x", lambda: big, 10) == big
    assert apart("x", lambda: b"", 10) == b""
    with pytest.raises(AgentError, match="the file: No such file"):
        apart("the file", (tmp_path / "none").read_bytes, 10)

    def die() -> bytes:
        os._exit(3)

    with pytest.raises(AgentError, match="died"):
        apart("x", die, 10)


def test_programs_are_limited_and_their_errors_told() -> None:
    assert run("echo", "yes") == "yes\n"
    with pytest.raises(TimeLimitError, match="sleep 60"):
        run("sleep", "60", seconds=0.1)
    with pytest.raises(AgentError, match="not installed"):
        run("no-such-program")
    with pytest.raises(AgentError, match="No such file"):
        run("cat", "/no/such/file")


def test_a_time_limit_ends_a_block() -> None:
    with pytest.raises(TimeLimitError), TimeLimit(0.05):
        time.sleep(30)
    with TimeLimit(0.05):
        pass


def test_only_one_runs_at_a_time(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert held_for(places.lock) is None
    with locked(places.lock, 0) as free:
        assert free
        with locked(places.lock, 0.05) as second:
            assert not second
        assert held_for(places.lock) is not None
        assert main(["run"], places) == 0
        assert "skipped" in json.loads(capsys.readouterr().out)
        places.lock.write_text(json.dumps({"pid": 1, "since": time.time() - 400}))
        assert main(["run"], places) == 1
        assert any("running for" in problem for problem in status(places)["problems"])
    assert held_for(places.lock) is None


def test_failures_are_counted(places: Places) -> None:
    record(places.last, "mount", {"ok": False, "problem": "gone"})
    record(places.last, "mount", {"ok": False, "problem": "gone"})
    assert read_last(places.last)["mount"]["failures_in_a_row"] == 2
    record(places.last, "mount", {"ok": True})
    last = read_last(places.last)["mount"]
    assert (last["failures_in_a_row"], last["failures"], last["runs"]) == (0, 2, 3)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"commands": 3}', '{"commands": {"a": 3}}'])
def test_a_broken_memory_is_begun_anew(places: Places, content: str) -> None:
    places.state.mkdir()
    places.last.write_text(content)
    assert read_last(places.last) == {}
    assert record(places.last, "mount", {"ok": True})["runs"] == 1


def test_a_wrong_configuration_is_a_result(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    places.config.write_text("{}")
    assert main(["run"], places) == 1
    printed = json.loads(capsys.readouterr().out)
    for name in COMMANDS:
        assert "deploy again" in printed[name]["problem"]
    problems = status(places)["problems"]
    assert len([p for p in problems if "machine.json" in p]) == len(COMMANDS) + 1


def test_a_fault_of_the_agent_is_a_result(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_config: Any, _places: Places) -> dict[str, Any]:
        raise RuntimeError("unforeseen")

    monkeypatch.setitem(COMMANDS, "mount", broken)
    places.config.write_text(json.dumps(machine_config(JOB)))
    result = perform("mount", places)
    assert (result["ok"], "unforeseen" in result["problem"]) == (False, True)


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file"
    write_whole(target, b"one")
    write_whole(target, b"two", 0o644)
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_mount_is_found_without_touching_it(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:53 / /srv/shared-config rw - fuse.s3fs s3fs rw\n"
        "31 22 0:54 / /srv/with\\040space rw - tmpfs none rw\n"
    )
    assert device_of(Path("/srv/shared-config"), table) == "0:53"
    assert device_of(Path("/srv/with space"), table) == "0:54"
    assert device_of(Path("/srv"), table) is None


def test_a_certificates_days_are_counted(tmp_path: Path) -> None:
    pem = tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-nodes", "-keyout", os.devnull, "-out", str(pem), "-subj", "/CN=x", "-days", "30"]
    subprocess.run([*request, *files], check=True, capture_output=True)
    assert health.certificate_days(pem) == 29


def test_an_entry_is_replaced_whole(tmp_path: Path) -> None:
    config = configuration.parse(machine_config(JOB))
    entry = registry.entry(config, health.facts(config), True, {"mount": {"ok": True}})
    assert entry["version"] == 1
    assert entry["health"]["disk_used"] in range(101)
    assert entry["health"]["memory_available"] > 0
    registry.replace(tmp_path, config.name, json.dumps(entry).encode())
    registry.replace(tmp_path, config.name, json.dumps(entry).encode())
    assert [path.name for path in tmp_path.iterdir()] == ["web1.json"]

"""How people are told: what, when, how often, and through a mail server that means it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulators.mail_server import PASSWORD, USER, MailServer
from tests.unit.test_agent_runs import JOB
from wizard.agent import alarms, config, cronjob, mail
from wizard.agent.alarms import PATIENCE, Memory
from wizard.agent.errors import AgentError
from wizard.agent.outbox import GROUP, PAUSE, Batch, Note, Outbox, wanted
from wizard.agent.state import Places, read_last, record
from wizard.machines.agent_zipapp import machine_config
from wizard.machines.job import MachineJob, MailSettings
from wizard.secrets import Secret

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
NOTE = Note("2026-11-26T12:00:00+00:00", "error", "web1 is gone")


@pytest.fixture(params=[False, True], ids=["starttls", "tls"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MailServer]:
    with MailServer(tls=request.param) as made:
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(made.certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        yield made


def account(server: MailServer) -> mail.Account:
    security = "tls" if server._tls else "starttls"
    return mail.Account(
        "localhost", server.port, security, USER, "us@example.net", "jo@example.org"
    )


def message(to: mail.Account, batch: Batch) -> Any:
    return mail.compose(to, "demo", "web1", batch)


# -- the mail server ------------------------------------------------------------------------------


def test_a_mail_arrives(server: MailServer) -> None:
    to = account(server)
    notes = (NOTE, Note(NOTE.at, "info", "twö\nlines"))
    mail.send(to, PASSWORD, message(to, Batch("demo.1", notes, lost=2)))
    found = server.messages[0]
    assert found["Subject"] == "[demo] web1: web1 is gone (and 3 more)"
    assert (found["From"], found["To"]) == ("us@example.net", "jo@example.org")
    assert found["Message-ID"] == "<demo.1@example.net>"
    assert found["Auto-Submitted"] == "auto-generated"
    text = server.texts()[0]
    assert "12:00:00+00:00  error: web1 is gone" in text
    assert "info: twö lines" in text
    assert "2 older ones are left out" in text


def test_a_wrong_password_is_not_told_to_anybody(server: MailServer) -> None:
    with pytest.raises(AgentError, match="535") as caught:
        mail.log_in(account(server), "a wrong password")
    assert "a wrong password" not in str(caught.value)
    mail.log_in(account(server), PASSWORD)
    assert server.messages == []


def test_a_server_that_shows_anothers_certificate_gets_no_password(server: MailServer) -> None:
    to = replace(account(server), host="127.0.0.1")
    with pytest.raises(AgentError, match="certificate"):
        mail.send(to, PASSWORD, message(to, Batch("demo.1", (NOTE,))))
    assert server.messages == []


def test_a_server_without_encryption_gets_nothing() -> None:
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as line:

        def serve() -> None:
            with line.accept()[0] as one, one.makefile("rwb", buffering=0) as lines:
                lines.write(b"220 plain\r\n")
                while word := lines.readline():
                    heard.append(word)
                    lines.write(b"250 AUTH PLAIN\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        to = mail.Account("127.0.0.1", line.getsockname()[1], "starttls", USER, "a@b.c", "d@e.f")
        with pytest.raises(AgentError, match="without encryption"):
            mail.log_in(to, PASSWORD)
        thread.join(10)
    assert not [word for word in heard if b"AUTH" in word]


# -- grouped, bounded, once -----------------------------------------------------------------------


def test_what_comes_together_is_one_mail_and_the_next_waits() -> None:
    box = Outbox().add([NOTE], 1000)
    assert box.begin("web1", 1000).due(1000) is None
    box = box.add([NOTE], 1000 + GROUP / 2).begin("web1", 1000 + GROUP)
    batch = box.due(1000 + GROUP)
    assert batch is not None
    assert len(batch.notes) == 2
    box = box.ended(batch.id, 1020, well=True).add([NOTE], 1021)
    assert box.begin("web1", 1020 + PAUSE - 1).due(1020 + PAUSE - 1) is None
    next_one = box.begin("web1", 1020 + PAUSE).due(1020 + PAUSE)
    assert next_one is not None
    assert next_one.id != batch.id


def test_a_batch_that_was_begun_stays_what_it_is_until_it_is_sent() -> None:
    clock = GROUP
    box = Outbox().add([NOTE], 0).begin("web1", clock)
    first = box.due(clock)
    assert first is not None
    times = []
    for _ in range(10):
        box = box.add([NOTE], clock).begin("web1", clock)
        assert box.due(clock) == first
        box = Outbox.from_plain(json.loads(json.dumps(box.to_plain())))
        box = box.ended(first.id, clock, well=False)
        assert box.due(clock) is None
        times.append(box.after - clock)
        clock = box.after
    assert times[:3] == [60, 120, 240]
    assert times[-1] == 3600
    box = box.ended(first.id, clock, well=True)
    assert box.batch is None
    assert len(box.waiting) == 10
    assert box.ended(first.id, clock + 1, well=False) == box, "it was sent"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-500, 500), st.booleans()), max_size=40))
def test_nothing_is_lost_or_told_twice(steps: list[tuple[int, int, bool]]) -> None:
    box, clock, told, sent = Outbox(), 1e6, 0, 0
    mails = []
    for count, passed, works in [*steps, (0, 4000, True), (0, 4000, True)]:
        clock += passed
        box = box.add([NOTE] * count, clock).begin("web1", clock)
        told += count
        if batch := box.due(clock):
            box = box.ended(batch.id, clock, well=works)
            if works:
                sent += len(batch.notes) + batch.lost
                mails.append(batch.id)
    assert sent == told
    assert len(set(mails)) == len(mails)


def test_levels() -> None:
    notes = [Note("", level, level) for level in ("info", "error", "mandatory")]
    for level, count in (("info", 3), ("error", 2), ("mandatory", 1)):
        assert len(wanted(notes, level)) == count


# -- what a machine tells -------------------------------------------------------------------------


def job(server: MailServer | None = None) -> MachineJob:
    security = "tls" if server and server._tls else "starttls"
    port = server.port if server else 587
    settings = MailSettings(
        "localhost", port, security, USER, "us@example.net", "jo@example.org", "info"
    )
    return replace(JOB, mail=settings, secrets={**JOB.secrets, "mail_password": Secret(PASSWORD)})


def test_the_job_and_the_configuration_hold_no_password() -> None:
    values = machine_config(job())
    assert PASSWORD not in json.dumps(values)
    assert config.parse(values).mail == mail.parse(values["mail"])
    again = MachineJob.from_plain(json.loads(json.dumps(job().to_plain())))
    assert again == job()
    assert PASSWORD not in repr(again)


def test_what_lasts_is_told_once_and_that_it_is_over() -> None:
    settings = config.parse(machine_config(job()))
    facts = {"services": {"nginx.service": "failed"}, "disk_used": 99, "certificate_days": 3}
    failed = {"ok": False, "problem": "the store does not answer", "failures_in_a_row": PATIENCE}
    commands = {
        "mount": failed,
        "edge": failed | {"failures_in_a_row": PATIENCE - 1},
        "backup-daily": failed | {"failures_in_a_row": 1},
        "cron-application": failed,
    }
    wrong = alarms.found(settings, commands, facts, NOW)
    assert set(wrong) == {
        "mount", "backup-daily", "cron-application", "nginx.service", "disk", "certificate"
    }  # fmt: skip
    memory, told = Memory(), []
    for _ in range(PATIENCE + 3):
        memory, notes = alarms.looked(memory, wrong, NOW)
        told += notes
    assert sorted(note.text for note in told) == [
        "application fails: the store does not answer",
        "backup-daily fails: the store does not answer",
        "mount fails: the store does not answer",
        "nginx.service is failed",
        "the certificate is valid for 3 more days",
        "the disk is 99% full",
    ]
    memory, notes = alarms.looked(memory, {}, NOW)
    assert {note.level for note in notes} == {"info"}
    assert len(notes) == 6
    assert alarms.looked(memory, {}, NOW)[1] == []


def test_a_failed_backup_is_mailed_when_the_server_is_back(
    server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = machine_config(job(server))
    password = tmp_path / "mail-password"
    password.write_text(PASSWORD + "\n")
    values["mail"]["password_file"] = str(password)
    settings = config.parse(values)
    places = Places(state=tmp_path / "state")
    clock = [1e9]
    monkeypatch.setattr(alarms.time, "time", lambda: clock[0])

    def look(seconds: float) -> tuple[list[str], str]:
        clock[0] += seconds
        return alarms.ensure(settings, {}, places.last, places.mail)

    record(places.last, "backup-daily", {"ok": False, "problem": "no space left"})
    server.down = True
    assert look(0) == ([], "")
    assert "451 come back later" in look(60)[1]
    assert PASSWORD not in places.mail.read_text()
    assert look(1)[1] == "a mail could not be sent 1 times"
    server.down = False
    done, problem = look(60)
    assert (len(done), problem) == (1, "")
    assert look(600) == ([], "")
    assert len(server.messages) == 1
    assert "backup-daily fails: no space left" in server.texts()[0]
    # the agent was killed before it could write down that it had sent it: the same mail again
    record(places.last, "backup-daily", {"ok": True})
    look(0)
    monkeypatch.setattr(Outbox, "ended", lambda box, *_args, **_words: box)
    look(60)
    look(60)
    ids = [found["Message-ID"] for found in server.messages]
    assert len(ids) == 3
    assert len(set(ids)) == 2


# -- cron -----------------------------------------------------------------------------------------


def cron(places: Places, *words: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from pathlib import Path; from wizard.agent.commands import main;"
        "from wizard.agent.state import Places;"
        f"sys.exit(main(sys.argv[1:], Places(state=Path({str(places.state)!r}),"
        f" runtime=Path({str(places.runtime)!r}))))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "cron", *words], capture_output=True, text=True, check=False
    )


def test_how_a_program_of_cron_ended_is_remembered(tmp_path: Path) -> None:
    places = Places(state=tmp_path / "state", runtime=tmp_path / "run")
    done = cron(places, "demo", "--", "sh", "-c", "echo one; echo the reason >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "one\nthe reason\n")
    found = read_last(places.last)["cron-demo"]
    assert (found["ok"], found["problem"]) == (False, "the reason (ended with 3)")
    cron(places, "demo", "--", "/no/such/program", "--wait")
    found = read_last(places.last)["cron-demo"]
    assert "/no/such/program cannot be run" in found["problem"]
    assert found["failures_in_a_row"] == 2
    assert cron(places, "demo", "--", "true").returncode == 0
    assert read_last(places.last)["cron-demo"]["ok"]


def test_a_program_that_goes_on_is_well(tmp_path: Path) -> None:
    places = Places(state=tmp_path / "state", runtime=tmp_path / "run")
    assert cronjob.run("demo", "", ["false"], places) == 1
    seen = tmp_path / "seen"
    until = f"until grep -q '\"ok\": true' {places.last}; do sleep 0.05; done; touch {seen}; exit 2"
    assert cronjob.run("demo", "", ["sh", "-c", until], places, settled=0.2) == 2
    assert seen.exists(), "while it ran it was well"
    assert read_last(places.last)["cron-demo"]["failures_in_a_row"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
def test_a_program_of_cron_runs_as_whom_it_should(tmp_path: Path) -> None:
    places = Places(state=tmp_path / "state", runtime=tmp_path / "run")
    done = cron(places, "demo", "--user", "nobody", "--", "sh", "-c", "id -un; id -G; echo $HOME")
    assert done.stdout.split() == ["nobody", "65534", "/nonexistent"]

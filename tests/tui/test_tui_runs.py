"""The engine's process and its events, as the wizard sees them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.tui.driving import PASSPHRASE
from wizard.events import Event, EventKind
from wizard.home.lock import locked
from wizard.operations.session import Session
from wizard.secrets import Secret
from wizard.tui import runs

STEPS = [
    {"id": "network", "title": "private network", "machine": "", "expected": 1, "needs": []},
    {
        "id": "create",
        "title": "create web1",
        "machine": "web1",
        "expected": 4,
        "needs": ["network"],
    },
    {"id": "dns", "title": "DNS records", "machine": "", "expected": 2, "needs": ["network"]},
]
STARTED = Event(EventKind.RUN_STARTED, "deploy demo", data={"steps": STEPS})


def test_a_run_is_read_from_its_events() -> None:
    progress = runs.Progress()
    assert progress.state == "none"
    progress.apply(STARTED)
    assert (progress.state, progress.expected) == ("running", 5.0)
    progress.apply(Event(EventKind.STEP_STARTED, step="create", machine="web1"))
    progress.apply(Event(EventKind.PROGRESS, "nginx", step="create", done=1, total=2))
    assert [(row.name, row.fraction) for row in progress.rows.rows] == [
        ("deployment", 0.0),
        ("web1", 0.5),
    ]
    progress.apply(Event(EventKind.STEP_FAILED, "no route", step="create"))
    progress.apply(Event(EventKind.RUN_FAILED, "cannot reach web1\n  why: no route"))
    assert progress.state == "failed"
    assert "no route" in progress.error
    progress.apply(STARTED)
    assert (progress.state, progress.error) == ("running", "")
    progress.apply(Event(EventKind.RUN_DONE, "https://site/"))
    assert (progress.state, progress.result) == ("done", "https://site/")


def test_events_are_followed_as_they_come_and_half_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    follower = runs.Follower(path)
    assert follower.read() == []
    line = STARTED.to_json()
    path.write_text(f"{line}\nnot json\n{line[:20]}")
    assert len(follower.read()) == 1
    with path.open("a") as file:
        file.write(line[20:] + "\n")
    assert follower.read()[0].data["steps"][1]["needs"] == ["network"]
    path.unlink()
    assert follower.read() == []
    follower.close()


def test_a_run_of_before_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(STARTED.to_json() + "\n")
    follower = runs.Follower(path, path.stat().st_size)
    assert follower.read() == []
    follower.close()


def wait(run: runs.Run) -> int:
    ends = time.monotonic() + 60
    while run.exit_code is None:
        assert time.monotonic() < ends
        time.sleep(0.05)
    return run.exit_code


def test_the_passphrase_reaches_the_engine_and_nobody_else(
    session: Session, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.yaml"
    answers.write_text("version: 1\n")
    run = runs.start(("secret", "--deployment", "none"), session.home.path, Secret(PASSPHRASE))
    pid = run._process.pid
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert PASSPHRASE.encode() not in arguments + environment
    assert os.getsid(pid) == pid
    assert wait(run) == 2
    assert "no deployment called none" in run.said()
    run.let_go()


def test_the_engine_unlocks_the_home_by_what_it_inherits(session: Session) -> None:
    code = (
        "import sys; from pathlib import Path; from wizard.home.home import Home; "
        "from wizard.operations.session import unlock; "
        "unlock(Home.open(Path(sys.argv[1])), Path(sys.argv[2]))"
    )
    with runs.memory_file(Secret(PASSPHRASE)) as memory:
        number = memory.fileno()
        subprocess.run(
            [sys.executable, "-c", code, session.home.path, f"/dev/fd/{number}"],
            pass_fds=(number,),
            check=True,
        )


def test_who_holds_a_deployment_is_known_while_they_do(tmp_path: Path) -> None:
    assert runs.holder(tmp_path) is None
    with locked(tmp_path / "lock", "deploy demo"):
        assert runs.holder(tmp_path) == runs.Holder(os.getpid(), "deploy demo")
    # what it wrote is still there
    assert (tmp_path / "lock").read_text()
    assert runs.holder(tmp_path) is None

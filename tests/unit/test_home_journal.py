"""The journal survives torn lines and says where it is damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from wizard.errors import HomeError
from wizard.home.journal import Journal
from wizard.secrets import Secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def filled(path: Path) -> bytes:
    journal = Journal.open(path)
    assert journal.entries == ()
    journal.record("intent", "create:web1", name="web1")
    journal.record("done", "create:web1", id="é", size=2.5)
    journal.record("intent", "dns")
    return path.read_bytes()


def test_remembers(path: Path) -> None:
    filled(path)
    journal = Journal.open(path)
    assert [(e.seq, e.kind, e.step) for e in journal.entries] == [
        (1, "intent", "create:web1"),
        (2, "done", "create:web1"),
        (3, "intent", "dns"),
    ]
    assert journal.entries[1].data == {"id": "é", "size": 2.5}
    assert journal.entries[0].at
    assert not journal.note
    assert path.stat().st_mode & 0o777 == 0o600


def test_any_torn_end_is_dropped_and_writing_goes_on(path: Path) -> None:
    data = filled(path)
    second = data.index(b"\n", data.index(b"\n") + 1) + 1
    for length in range(second + 1, len(data)):
        path.write_bytes(data[:length])
        journal = Journal.open(path)
        assert len(journal.entries) == 2
        assert "half written" in journal.note
        assert path.read_bytes() == data[:length]  # reading changes nothing
        journal.record("intent", "again")
        again = Journal.open(path)
        assert [entry.step for entry in again.entries][2:] == ["again"]
        assert not again.note


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\0" * 100 + b"\n", b"{}\n", b"\xff\xfe\n"])
def test_rubbish_at_the_end_is_dropped(path: Path, tail: bytes) -> None:
    path.write_bytes(filled(path) + tail)
    journal = Journal.open(path)
    assert len(journal.entries) == 3
    assert journal.note


def test_damage_in_the_middle_names_line_and_cure(path: Path) -> None:
    data = filled(path)
    for position in range(data.index(b"\n", data.index(b"\n") + 1)):
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(HomeError, match=r"damaged at line [12]") as error:
            Journal.open(path)
        assert "Nothing is lost" in error.value.cure
    lines = data.splitlines(keepends=True)
    for lost in (lines[1:], [lines[0], lines[2]], [lines[1], lines[0], lines[2]]):
        path.write_bytes(b"".join([*lost, lines[0]]))
        with pytest.raises(HomeError, match="damaged at line"):
            Journal.open(path)


def test_set_aside(path: Path) -> None:
    data = filled(path)
    aside = Journal.set_aside(path)
    assert aside.name.startswith("journal.jsonl.corrupt-2")
    assert aside.read_bytes() == data
    assert Journal.open(path).entries == ()


def test_refuses_secrets(path: Path) -> None:
    journal = Journal.open(path)
    with pytest.raises(TypeError):
        journal.record("done", "step", password=Secret("hidden value"))
    assert not path.exists()
    journal.record("done", "step")
    assert len(Journal.open(path).entries) == 1


def test_many_threads(path: Path) -> None:
    journal = Journal.open(path)
    threads = [
        threading.Thread(target=lambda n=n: [journal.record("k", f"{n}") for _ in range(20)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Journal.open(path).entries == journal.entries
    assert len(journal.entries) == 80

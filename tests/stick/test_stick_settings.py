"""Settings of the stick, what it was started from, and arguments the helper refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wizard.errors import NotSupportedError, PassphraseError, UsageError
from wizard.home.strength import strength
from wizard.secrets import Secret
from wizard.stick import luks, medium, settings
from wizard.stick.client import Stick
from wizard.stick.disks import Computer
from wizard.stick.medium import Origin
from wizard.stick.settings import Settings

RULES = """\
! model
  pc105           Generic 105-key PC
! layout
  us              English (US)
  de              German
! variant
  neo             de: German (Neo 2)
! option
  grp             Switching
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "base.lst"
    path.write_text(RULES)
    found = settings.keyboards(path)
    monkeypatch.setattr(settings, "keyboards", lambda: found)


@pytest.mark.usefixtures("rules")
def test_settings_are_kept_and_checked(tmp_path: Path) -> None:
    assert set(settings.keyboards()) == {"us", "de", "de neo"}
    assert settings.remembered(tmp_path) is None
    chosen = Settings("de neo", "Europe/Berlin", "C.UTF-8")
    settings.remember(tmp_path, chosen)
    assert settings.remembered(tmp_path) == chosen
    for wrong in ("{", "[]", '{"keyboard": "de"}', '{"keyboard": "xx; reboot"}', "x" * 9000):
        (tmp_path / settings.FILE).write_text(wrong)
        assert settings.remembered(tmp_path) is None
    (tmp_path / settings.FILE).unlink()
    (tmp_path / settings.FILE).symlink_to("/etc/passwd")
    assert settings.remembered(tmp_path) is None


@pytest.mark.usefixtures("rules")
def test_what_may_have_been_meant() -> None:
    found = settings.problems(Settings("german", "berlin", "C.UTF-8"))
    assert set(found) == {"keyboard", "timezone"}
    assert "Europe/Berlin" in found["timezone"]
    with pytest.raises(UsageError, match="does not have"):
        settings.refuse_unknown(Settings("us", "../../etc/passwd"))


def test_time_zone_and_language_are_set_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for zone in ("Europe/Berlin", "Etc/UTC"):
        settings.apply_timezone(zone, tmp_path)
    assert (tmp_path / "etc/localtime").readlink() == Path("/usr/share/zoneinfo/Etc/UTC")
    assert (tmp_path / "etc/timezone").read_text() == "Etc/UTC\n"
    settings.apply_language("C.UTF-8", tmp_path)
    assert (tmp_path / "etc/locale.conf").read_text() == "LANG=C.UTF-8\n"


def test_strength_in_words() -> None:
    assert strength(Secret("short")) == "5 of at least 12 characters"
    assert strength(Secret("password1234")).startswith("weak")
    assert strength(Secret("gelber tisch regen neun lampe")).startswith("strong")


def test_recovery_keys_as_people_type_them() -> None:
    key = luks.generate_recovery_key()
    assert len(key.reveal()) == 35
    assert luks.typed_recovery_key(Secret(key.reveal().lower().replace("-", " "))) == key
    for wrong in ("", "ABCDE", key.reveal()[:-1] + "0", key.reveal() + "A"):
        with pytest.raises(PassphraseError, match="not a recovery key"):
            luks.typed_recovery_key(Secret(wrong))


# -- what was started from -----------------------------------------------------------------------


def picture(root: Path, *, mount: str = "", parts: int = 0, command_line: str = "") -> Computer:
    """Draw a computer with one disk, sda."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(mount)
    (root / "proc/cmdline").write_text(command_line)
    folder = root / "sys/devices/usb1/block/sda"
    for number in range(1, parts + 1):
        (folder / f"sda{number}").mkdir(parents=True)
        (folder / f"sda{number}/partition").write_text(f"{number}\n")
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/block").mkdir(parents=True)
    if parts:
        (root / "sys/dev/block/8:1").symlink_to(folder / "sda1")
        (root / "sys/block/sda").symlink_to(folder)
    return Computer(root / "sys", root / "proc")


LIVE = "30 1 {} / /run/live/medium ro - {} /dev/sda1 ro\n"


@pytest.mark.parametrize(
    ("drawn", "origin"),
    [
        ({}, Origin.ORDINARY),
        ({"command_line": "boot=live toram"}, Origin.MEMORY),
        ({"mount": LIVE.format("0:30", "tmpfs")}, Origin.MEMORY),
        ({"mount": LIVE.format("11:0", "iso9660")}, Origin.DISC),
        ({"mount": LIVE.format("8:1", "iso9660"), "parts": 2}, Origin.DISC),
        ({"mount": LIVE.format("8:1", "iso9660"), "parts": 4}, Origin.STICK),
    ],
)
def test_what_was_started_from(tmp_path: Path, drawn: dict[str, str], origin: Origin) -> None:
    computer = picture(tmp_path, **drawn)  # type: ignore[arg-type]
    found = medium.find(computer)
    assert found.origin is origin
    if origin is Origin.STICK:
        assert medium.boot_disk(computer).name == "sda"
    else:
        with pytest.raises(NotSupportedError, match="go on in memory only") as raised:
            medium.boot_disk(computer)
        assert raised.value.what


# -- the helper, on this computer, which is no stick ---------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["format"],
        ["create", "/dev/sda"],
        ["keyboard", "--help"],
        ["timezone", "a\nb"],
        ["other-mount", "/dev/sda1"],
        ["status", "x" * 300],
    ],
)
def test_helper_refuses_what_is_not_on_its_list(words: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "wizard.stick", *words], capture_output=True, text=True, input="{}"
    )
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["error"]["kind"] == "UsageError"


def test_helper_errors_come_back_as_they_were() -> None:
    stick = Stick([sys.executable, "-c", "print('{\"error\": %s}')" % json.dumps(  # noqa: UP031
        {"kind": "PassphraseError", "what": "wrong", "where": "", "why": "", "cure": "again"}
    )])  # fmt: skip
    with pytest.raises(PassphraseError, match="wrong"):
        stick.open(Secret("x"))

"""The wizard and a real NetworkManager with a real cable, in namespaces of the test's own.

The computer's own NetworkManager, if there is one, sees nothing of it. It has no Wi-Fi: the kernels
this runs on have no radio, nor a simulated one; what nmcli prints of Wi-Fi is in the unit tests.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import network_driver

pytestmark = pytest.mark.lab

NEEDED = ("NetworkManager", "nmcli", "dbus-daemon")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if missing := [name for name in NEEDED if not shutil.which(name, path="/usr/sbin:/usr/bin")]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("network")
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, "-P", str(Path(network_driver.__file__)), str(folder)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    log = (folder / "log").read_text()[-4000:] if (folder / "log").exists() else ""
    assert done.returncode == 0, f"{done.stderr}\n{log}"
    return json.loads(done.stdout)


def test_without_networkmanager_the_link_is_looked_at(found: Any) -> None:
    assert found["without"]["managed"] is False
    assert "no network device is up" in found["without"]["trouble"]


def test_a_cable_that_is_not_plugged_in(found: Any) -> None:
    assert found["unplugged"]["wired"] == ["no cable, or nothing at its other end"]
    assert found["unplugged"]["trouble"] == "there is no connection"
    assert found["unplugged"]["wifi"] == "missing"


def test_a_network_that_gives_no_address(found: Any) -> None:
    assert found["no address"]["code"] != 0
    assert "gave no address" in found["no address"]["why"], found["no address"]["said"]


def test_well_portal_and_cut_off_are_told_apart(found: Any) -> None:
    assert found["well"]["wired"] == ["connected"]
    assert found["well"]["trouble"] == ""
    assert found["portal"]["portal"] is True
    assert "captive portal" in found["portal"]["trouble"]
    assert found["cut off"]["portal"] is False
    assert "cannot be reached" in found["cut off"]["trouble"]


def test_profiles_of_wifi_are_made_and_taken_away(found: Any) -> None:
    assert found["scan"] == []
    assert found["join"]["what"] == "the network was not joined"
    assert not any(name.startswith("build-usb-wifi-") for name in found["profiles"])
    assert found["known"] is True
    assert "Café" in found["ssid"]
    assert found["forgotten"] is True

"""What a computer cannot give its machines is said before one is made."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wizard.errors import ProviderError
from wizard.lab.machines import refuse_without_watches

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="takes what is left from a user that nobody is")
def test_a_computer_that_lets_nothing_more_be_watched() -> None:
    # the kernel counts by user: other tests of this computer lose nothing. A program of its own,
    # for the copy of a process with threads may wait for ever for what another thread held
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.test_lab_limits"],
        cwd=Path(__file__).parents[2],
        timeout=300,
        check=False,
    )
    assert done.returncode == 0


def _refused_when_full() -> int:
    """Return 0 if there was room at first, and then a refusal that names the limit."""
    refuse_without_watches(1)
    watch = ctypes.CDLL(None).inotify_init1
    while watch(os.O_CLOEXEC) >= 0:
        pass
    try:
        refuse_without_watches(2)
    except ProviderError as error:
        return 0 if "0 of it are left" in error.why and "sysctl" in error.cure else 2
    return 1


if __name__ == "__main__":
    os.setuid(NOBODY)  # after all is imported that nobody may not read
    sys.exit(_refused_when_full())

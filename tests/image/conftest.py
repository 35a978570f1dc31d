"""The image that all tests of this folder look at: built once, or what BUILD_USB_IMAGE names."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.image import Image
from tests.image.internal_disks import PROGRAMS
from tests.lab.conftest import laboratory as laboratory

ROOT = Path(__file__).parents[2]
NEEDED = (
    *PROGRAMS,
    *("qemu-system-x86_64", "xorriso", "unsquashfs", "mcopy", "sbverify", "openssl", "swtpm"),
    *("modprobe", "depmod", "cpio", "zstd"),
)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, built if nobody gave one."""
    paths = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if os.geteuid():
        pytest.skip("needs root: the image is made of files with their owners and devices")
    missing = [name for name in NEEDED if not shutil.which(name, path=paths)]
    if missing:
        pytest.skip(f"`make apt-image` installs what is missing: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("image")
    if given := os.environ.get("BUILD_USB_IMAGE"):
        return Image(Path(given).resolve(), folder)
    dist = folder / "dist"
    # the stages are kept as for a person who builds: only what changed is made again
    ended = subprocess.run(
        [ROOT / "build-image.sh"],
        env={**os.environ, "BUILD_USB_IMAGE_DIST": str(dist)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    print(ended.stdout)
    (iso,) = dist.glob("*.iso")
    return Image(iso, folder)


@pytest.fixture
def make_stick(image: Image, tmp_path: Path) -> Callable[[], Path]:
    """Makes sticks with the image on them, of 2 GB; they end with the test."""
    return lambda: image.stick(tmp_path / "stick.img")

"""What is packed for autoscalers."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from wizard.engine import product
from wizard.events import silent


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    return folder


def test_the_archive_runs_the_loop_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # our own packages for our own Python: what the stick, which has the machines' Python, packs
    monkeypatch.setattr(product, "PYTHON", sys.version_info[:2])
    made = product.packed(cache, ("local", "rfc2136"), "x86_64", silent)
    assert made.digest == hashlib.sha256(made.path.read_bytes()).hexdigest()
    unpacked = cache / "unpacked"
    with tarfile.open(made.path) as archive:
        archive.extractall(unpacked, filter="data")
    tried = subprocess.run(
        [sys.executable, "-P", "-S", "-c",
         "import sys, boto3; import wizard.autoscaler.__main__, wizard.storage.s3;"
         "import wizard.providers.local, wizard.dns.rfc2136, wizard.lab.addresses;"
         "from wizard.machines.templates import render;"
         "render('cron/autoscaler.j2', program='/opt'); boto3.client('s3', 'us-east-1');"
         "outside = [m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)"
         "           and 'site-packages' in m.__file__]; assert not outside, outside"],
        env={"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert tried.returncode == 0, tried.stderr
    names = {path.name for path in unpacked.iterdir()}
    assert not names & {"textual", "cloudflare", "moto", "aiohttp", "pytest"}
    before = made.path.stat().st_mtime_ns
    again = product.packed(cache, ("local", "rfc2136"), "x86_64", silent)
    assert again == made
    assert again.path.stat().st_mtime_ns == before


def test_every_package_has_a_checksum() -> None:
    wanted = product._packages(("aws", "cloudflare"))
    listed = product._with_checksums(wanted)
    assert listed.count("==") == len(wanted)
    assert all("--hash=sha256:" in line for line in listed.splitlines())
    assert "cloudflare" in wanted
    assert "textual" not in wanted

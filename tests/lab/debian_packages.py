"""Programs of the machines' Debian, from this computer's mirrors, unpacked by a test."""

from __future__ import annotations

import subprocess
from pathlib import Path

from wizard.lab import basetree


def unpack(folder: Path, package: str, *members: str) -> Path:
    """Return a folder with these members (`usr/share/...`) of a package."""
    state = folder / "apt"
    for path in ("lists/partial", "cache/archives/partial"):
        (state / path).mkdir(parents=True, exist_ok=True)
    lines = state / "sources.list"
    # apt's own settings stay: they say how the mirrors are reached
    options = {
        "Dir::Etc::sourcelist": lines,
        "Dir::Etc::sourceparts": "-",
        "Dir::State": state,
        "Dir::State::status": "/dev/null",
        "Dir::Cache": state / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    if not lines.exists():
        lines.write_text("\n".join(basetree.sources()) + "\n")
        subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", package], cwd=folder, check=True)
    (archive,) = folder.glob(f"{package}_*.deb")
    there = folder / package
    there.mkdir()
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as read:
        names = [f"./{member}" for member in members]
        subprocess.run(["tar", "-x", "-C", there, *names], stdin=read.stdout, check=True)
    return there

"""Rehearsals in other places than the tester's own: other namespaces, another user's account."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import leftovers
from tests.lab.deployments import Browser, Rehearsal
from wizard.engine.open import lab_folder

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Elsewhere(Rehearsal):
    """A rehearsal whose commands run behind `prefix`, with `more` in their environment."""

    prefix: tuple[str, ...] = ()
    python: str = sys.executable
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.more}

    def argv(self, *words: str | Path) -> list[str]:
        return [*self.prefix, self.python, "-m", "wizard", *map(str, words)]

    def make_home(self) -> None:
        """Nothing: it belongs to whom the commands run as, who makes it."""

    def answers(self) -> bool:
        """Say whether the deployed site shows its front page to a visitor."""
        with Browser(self.state()) as visitor:
            return "My first site" in visitor.get("/").text

    def left(self) -> list[str]:
        """Return what a destroyed rehearsal left running, mounted or on disk; must be empty."""
        lab = lab_folder(self.home)
        files = [path.name for path in lab.iterdir()] if lab.is_dir() else []
        return [
            *(thing for things in leftovers.of(self.home).values() for thing in things),
            *(name for name in files if name not in ("base", "lab.log")),
        ]


@contextmanager
def namespaces(*kinds: str, script: str = "true") -> Iterator[tuple[str, ...]]:
    """Make namespaces (`--net`, `--mount`), run `script` in them; the prefix that enters them."""
    keep = f"set -e; {script}; echo ready; exec sleep infinity"
    with subprocess.Popen(
        ["unshare", *kinds, "bash", "-c", keep], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        try:
            assert holder.stdout.readline() == "ready\n"
            yield ("nsenter", f"--target={holder.pid}", *kinds, "--")
        finally:
            holder.kill()


@dataclass(frozen=True)
class Person:
    """A user of this computer who is not root; `sudoers` is their file, at first missing."""

    name: str
    folder: Path
    python: str
    sudoers: Path

    def may_use_sudo(self) -> None:
        """Let the person become root without a password."""
        partial = self.folder / "sudoers"
        partial.write_text(f"{self.name} ALL=(ALL:ALL) NOPASSWD: ALL\n")
        partial.chmod(0o440)
        shutil.move(partial, self.sudoers)

    def rehearsal(self, **more: str) -> Elsewhere:
        return Elsewhere(
            self.folder / "home",
            self.folder,
            prefix=(str(shutil.which("runuser")), "-u", self.name, "--"),
            python=self.python,
            more={"PYTHONPATH": str(self.folder / "checkout"), **more},
        )


@contextmanager
def person() -> Iterator[Person]:
    """Make a user with a copy of the project in a home folder; both are gone afterwards."""
    name = f"build-usb-{os.getpid()}"
    # not below pytest's folder, which only its owner may enter
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/var/tmp"))
    sudoers = Path("/etc/sudoers.d") / name
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--user-group", "--shell", "/bin/bash",
         "--home-dir", folder, name],
        check=True,
    )  # fmt: skip
    try:
        entry = pwd.getpwnam(name)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        for part in ("wizard", "config-templates", "hooks"):
            shutil.copytree(
                CHECKOUT / part,
                folder / "checkout" / part,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        yield Person(name, folder, _python(name, folder), sudoers)
    finally:
        sudoers.unlink(missing_ok=True)
        subprocess.run(["userdel", name], check=True)
        shutil.rmtree(folder)


def _python(name: str, folder: Path) -> str:
    """Return a Python with our dependencies that the user may run."""

    def works(command: str) -> bool:
        test = ["runuser", "-u", name, "--", command, "-c", "import pydantic, aiohttp"]
        return subprocess.run(test, capture_output=True, check=False).returncode == 0

    if works(sys.executable):
        return sys.executable
    # root's own Python: use Debian's, which is of the same version where tests are run
    made = folder / "venv"
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", made], check=True)
    packages = Path(sysconfig.get_path("purelib"))
    own = next(made.glob("lib/python3*/site-packages"))
    own.joinpath("dependencies.pth").write_text(f"{packages}\n")
    if not works(str(made / "bin" / "python")):
        shutil.copytree(packages, folder / "packages")
        own.joinpath("dependencies.pth").write_text(f"{folder / 'packages'}\n")
    assert works(str(made / "bin" / "python"))
    return str(made / "bin" / "python")

"""A rehearsal of an application that comes as releases, and a copy that begins with its backup."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.lab.deployments import REHEARSAL, Rehearsal
from wizard.engine.state import State
from wizard.engine.state import load as load_state
from wizard.home.home import Home

COPY = "copy.rehearsal.test"


class Released:
    """The rehearsal `demo` of an application, the releases that it is given, and `copy`, another
    deployment in the same rehearsal. `pack` writes the archive of a release (its number; whether
    its upgrade fails half done) into a folder; it returns the archive and its SHA-256."""

    def __init__(
        self, folder: Path, kind: str, pack: Callable[[Path, int, bool], tuple[Path, str]]
    ) -> None:
        self.site = Rehearsal(folder / "home", folder / "user")
        self.site.user.mkdir()
        self.folder, self.pack = folder, pack
        self.values: dict[str, Any] = yaml.safe_load(REHEARSAL.read_text())
        self.values["application"]["kind"] = kind
        self.values["backups"] = {"periods": ["daily"]}
        self.releases: dict[tuple[int, bool], dict[str, str]] = {}

    def release(self, number: int, breaks: bool = False) -> dict[str, str]:
        """Return a release, packed once: packed again it has another checksum."""
        if (number, breaks) not in self.releases:
            folder = self.folder / ("breaks" if breaks else "whole")
            folder.mkdir(exist_ok=True)
            archive, digest = self.pack(folder, number, breaks)
            self.releases[number, breaks] = {"file": str(archive), "sha256": digest}
        return self.releases[number, breaks]

    def deploy(self, number: int, check: bool = True, breaks: bool = False) -> Any:
        """Deploy `demo` with a release."""
        source = {"kind": "fresh", "release": self.release(number, breaks)}
        self.values["application"]["source"] = source
        answers = self.folder / "answers.yaml"
        answers.write_text(yaml.safe_dump(self.values))
        return self.site.run("deploy", answers, "--json", check=check)

    def begin(self, number: int, user: str, check: bool = True) -> Any:
        """Deploy `copy`, which begins with the last point of `demo`: another name and domain."""
        source = {"kind": "backup", "period": "manual", "deployment": "demo"}
        application = {
            **self.values["application"],
            "admin": {"user": user, "email": f"{user}@copy.test"},
            "source": {**source, "release": self.release(number)},
        }
        copy = {"name": "copy", "domain": {"name": COPY}, "application": application}
        answers = self.folder / "copy.yaml"
        answers.write_text(yaml.safe_dump({**self.values, **copy}))
        return self.site.run("deploy", answers, "--json", "--yes", check=check)

    def begin_with_baseline(self, number: int, name: str, domain: str) -> State:
        """Publish a baseline of `copy` to a repository on this computer and deploy with it; return
        what the home knows of that."""
        repository = self.folder / "baseline.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repository], check=True)
        self.site.run("baseline", "publish", "copy", "--to", repository)
        source = {"kind": "baseline", "repository": str(repository)}
        application = {**self.values["application"], "title": "Another site"}
        application["source"] = {**source, "release": self.release(number)}
        values = {"name": name, "domain": {"name": domain}, "application": application}
        answers = self.folder / f"{name}.yaml"
        answers.write_text(yaml.safe_dump({**self.values, **values}))
        self.site.run("deploy", answers, "--json", "--yes")
        found = load_state(self.site.home / "deployments" / name / "state.json")
        assert found is not None
        return found

    def baseline_of_copy(self, version: str, emptied: str) -> Path:
        """Make a baseline of `copy`; return its folder. Nothing must be found in it; `emptied` is a
        table without its rows."""
        made = self.site.run("baseline", "create", "copy", "--licence", "GPL-2.0-or-later")
        assert "nothing was found" in made.stderr, made.stderr[-3000:]
        assert emptied in made.stderr
        folder = self.site.home / "baselines" / "copy"
        manifest = json.loads((folder / "baseline.json").read_text())
        kind = self.values["application"]["kind"]
        assert (manifest["application"], manifest["application_version"]) == (kind, version)
        return folder

    def is_not_downgraded(self, name: str, number: int, said: str) -> None:
        """See that an older release than its content's is refused to a deployment."""
        answers = self.folder / f"{name}.yaml"
        values = yaml.safe_load(answers.read_text())
        values["application"]["source"]["release"] = self.release(number)
        answers.write_text(yaml.safe_dump(values))
        refused = self.site.run("deploy", answers, "--json", "--yes", check=False)
        assert refused.returncode != 0
        assert said in refused.stderr

    def copy(self) -> State:
        """Return what the home knows of the copy."""
        found = load_state(self.site.home / "deployments" / "copy" / "state.json")
        assert found is not None
        return found

    def in_copy(self, machine: str, command: str, stdin: str = "") -> str:
        """Return what a shell command prints on a machine of the copy."""
        return self.site.on(machine, command, stdin, "copy")

    def secret(self, name: str, deployment: str = "copy") -> str:
        """Return a secret of the copy, or of another one."""
        return self.site.run("secret", name, "--deployment", deployment).stdout.strip()


@contextmanager
def destroyed(found: Released) -> Iterator[Released]:
    """Take all deployments away in the end."""
    try:
        yield found
    finally:
        for name in Home.open(found.site.home).deployments():
            found.site.run("destroy", "--yes", name)

"""The deployments of one build home: what works on them, what is started, what is asked of them.

Every method that may take longer than a screen may wait is marked *slow*: call it in a thread.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wizard.errors import BuildUsbError
from wizard.home.home import DeploymentHome, Home
from wizard.secrets import Secret
from wizard.tui import runs

if TYPE_CHECKING:
    from wizard.operations.dashboard import Dashboard
    from wizard.operations.session import Session
    from wizard.operations.status import Status


@dataclass(frozen=True)
class Known:
    """A deployment of the home, what works on it now, and whether it is on its way to production;
    one that is gone is only known by that."""

    name: str
    holder: runs.Holder | None
    promoted: bool = False


class Deployments:
    """One build home and what runs of it; nothing is made before `open_home`."""

    def __init__(self, home: Path) -> None:
        self.home_path = home
        self.home: Home | None = None
        self.session: Session | None = None
        self.run: runs.Run | None = None
        self.deployment = ""
        self.doing = "deploy"
        self._words: tuple[str | Path, ...] = ()  # what was started last, and for which one
        self._started = ""
        self.since = 0  # where in its events the run that was started here begins
        self._passphrase = Secret("")
        # what is done in it may talk to the person on the terminal
        self.terminal: Callable[[], AbstractContextManager[None]] = nullcontext

    # -- the home --------------------------------------------------------------------------------

    def has_home(self) -> bool:
        """Say whether there is a build home already."""
        return (self.home_path / "home.json").is_file()

    def open_home(self) -> Home:
        """Open the home, made if it is missing. Raises HomeError."""
        if self.home is None:
            self.home = Home.open(self.home_path)
        return self.home

    def is_new(self) -> bool:
        """Say whether a passphrase has still to be chosen."""
        return not self.has_home() or not self.open_home().has_identity()

    def unlock(self, passphrase: Secret) -> None:
        """Open the home's key, or make it by this passphrase (slow). Raises HomeError."""
        from wizard.home.passphrase import refuse_weak
        from wizard.operations.session import Session

        if self.is_new():
            refuse_weak(passphrase)
            home = self.open_home()
            self.session = Session(home, home.create_identity(passphrase))
        else:
            home = self.open_home()
            self.session = Session(home, home.unlock(passphrase))
        self._passphrase = passphrase

    # -- deployments -----------------------------------------------------------------------------

    def known(self) -> list[Known]:
        """Return the deployments of the home, those under way first."""
        if not self.has_home():
            return []
        home = self.open_home()
        promoted = set(home.promotions())
        found = []
        for name in {*home.deployments(), *promoted}:
            deployment = home.deployment(name)
            holder = runs.holder(deployment.promotion) or runs.holder(deployment.folder)
            found.append(Known(name, holder, name in promoted))
        return sorted(found, key=lambda known: (known.holder is None, known.name))

    def look_at(self, name: str, doing: str = "") -> None:
        """Turn to a deployment, and to a run of that kind on it (`promote`) if one is under way."""
        if self.run is not None and (name, doing) != (self._started, self.doing):
            self.run.let_go()  # it goes on, but is not what is looked at
            self.run = None
        self.deployment, self.doing = name, doing

    def folder(self) -> DeploymentHome:
        """Return the deployment that is looked at."""
        return self.open_home().deployment(self.deployment)

    def mode(self) -> str:
        """Return the mode of the deployment, empty where its answers cannot be read."""
        from wizard.operations.session import read_answers

        try:
            return read_answers(self.folder()).mode
        except BuildUsbError:
            return ""

    @property
    def watched(self) -> Path:
        """Return the folder of the run that is looked at: with its events and its lock."""
        folder = self.folder()
        return folder.promotion if self.doing == "promote" else folder.folder

    def deploy_again(self) -> None:
        """Start the engine for what was deployed last."""
        self.start("deploy", self.folder().answers_file, "--json", "--yes")

    def repeat(self, what: str) -> None:
        """Do once more what a run did (`deploy demo`): as it was begun here last, if it was."""
        verb = what.partition(" ")[0] or "deploy"
        # a run that could not even begin has not left its answers with the deployment; carrying is
        # a run on another deployment, then a deploy
        if self.was_started(verb) or self.was_started("carry"):
            self.start_again()
        elif verb == "destroy":
            self.destroy()
        elif verb == "backup":
            self.back_up()
        else:
            self.deploy_again()

    def back_up(self) -> None:
        """Start making a restore point."""
        self.start("backup", self.deployment, "--json")

    def put_back(self, point: str) -> None:
        """Start putting a restore point back in place of what runs."""
        self.start("restore", point, "--deployment", self.deployment, "--yes", "--json")

    def points(self) -> list[str]:
        """Return the names of the whole restore points, newest first (slow). Raises
        BuildUsbError."""
        from wizard.operations.points import points

        assert self.session is not None
        known = points(self.session, self.folder())
        return [str(point["name"]) for point in reversed(known) if point["whole"]]

    def scaling(self) -> dict[str, str]:
        """Return what may be asked of the autoscalers, and in words. UsageError without any."""
        from wizard.operations import scaling

        return scaling.offered(self.folder())

    def scale(self, what: str) -> None:
        """Ask the autoscalers for one of `scaling` (slow). Raises BuildUsbError."""
        from wizard.operations import scaling

        assert self.session is not None
        scaling.ask(self.session, self.folder(), what)

    def page(self) -> Dashboard:
        """Open the autoscalers' status page on this computer (slow). Raises BuildUsbError."""
        from wizard.operations.dashboard import Dashboard

        assert self.session is not None
        return Dashboard(self.session, self.folder())

    def sources(self) -> list[str]:
        """Return the deployments whose plugins and themes may be carried to this one: those of the
        same application (slow). Raises BuildUsbError."""
        from wizard.operations.session import read_answers

        home = self.open_home()
        kind = read_answers(self.folder()).application.kind
        return [
            name
            for name in home.deployments()
            if name != self.deployment
            and read_answers(home.deployment(name)).application.kind == kind
        ]

    def carry(self, source: str) -> None:
        """Start bringing plugins and themes of another deployment to all webservers of this one."""
        self.start("carry", source, self.deployment, "--json")

    def destroy(self) -> None:
        """Start taking the deployment away."""
        self.start("destroy", self.deployment, "--json", "--yes")

    def _admit(self, answers: Path) -> None:
        """Start a rehearsal's lab here if sudo asks for a password: a run has no terminal, and what
        sudo remembers belongs to this one. Raises BuildUsbError."""
        from wizard.answers import loader
        from wizard.engine import open as engine_open
        from wizard.events import silent
        from wizard.providers.local_daemon import asks_for_password

        home = self.open_home()
        if os.geteuid() == 0 or not asks_for_password(engine_open.lab_folder(home.path)):
            return
        if loader.load(answers).provider.name != "local":
            return
        provider = engine_open.provider("local", home)
        with self.terminal():
            provider.check()
            provider.prepare(silent)

    def was_started(self, verb: str) -> bool:
        """Say whether that is what was started here last, for the deployment that is looked at."""
        return self._words[:1] == (verb,) and self._started == self.deployment

    def start_again(self) -> None:
        """Start what was started last. Raises BuildUsbError."""
        self.start(*self._words)

    def start(self, *words: str | Path) -> None:
        """Start `build-usb WORDS`. Raises BuildUsbError."""
        self.doing = str(words[0])
        deploys = self.doing == "deploy"
        self._admit(Path(words[1]) if deploys else self.folder().answers_file)
        self._words, self._started = words, self.deployment
        events = self.watched / "events.jsonl"
        self.since = events.stat().st_size if events.exists() else 0
        if self.run is not None:
            self.run.let_go()
        self.run = runs.start(words, self.home_path, self._passphrase)

    def status(self) -> Status:
        """Ask machines, DNS and site how they are (slow). Raises BuildUsbError."""
        from wizard.operations.status import status

        assert self.session is not None
        return status(self.session, self.folder())

    def secret(self, name: str) -> Secret | None:
        """Return a secret of the deployment. Raises HomeError."""
        assert self.session is not None
        return self.session.secrets(self.folder()).get(name)

    def shell(self, deployment: str, machine: str) -> int:
        """Open a shell on a machine, on this terminal; return its exit code."""
        words = ("ssh", "--deployment", deployment, machine)
        with runs.memory_file(self._passphrase) as memory:
            return subprocess.run(
                runs.command(words, self.home_path, memory.fileno()),
                pass_fds=(memory.fileno(),),
                env=runs.clean_environment(),
                check=False,
            ).returncode

"""What applications have in common that come as their projects' own releases.

A release is a folder that PHP cannot write to; what people put in is beside the releases. The
release's own programs install and upgrade the database. Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from wizard.baselines.cleaning import Cleaning
from wizard.machines.certificates import DATABASE_TRUST, trust
from wizard.machines.desired import Absent, Facts, File, Folder, Item, Part, Step
from wizard.machines.job import MachineJob
from wizard.machines.places import APPLICATION_CRON, LIBRARY, SITE
from wizard.machines.remote import source
from wizard.machines.templates import render
from wizard.secrets import Secret

SCRATCH = f"{SITE}/scratch"
"""What can be made again: no backup has it."""
_RELEASE = f"{LIBRARY}/release.py"


class Released:
    """An application of the release that the answers name.

    `shared`: its folders that PHP writes to and all releases have in common, and so have several
    webservers; `kept`: what else is beside them; `own`: its folders that PHP writes to, and that
    can be made again; `apart`: its folders that stand elsewhere (`/srv/site/apart/DIGEST`);
    `stubs`: its files that are replaced, by path: they read the settings (`%s`). `php`: options of
    the program that makes the database fit it.
    """

    kind = ""
    health_path = ""
    packages: tuple[str, ...] = ()
    writable: tuple[str, ...] = (f"{SITE}/shared",)
    uploads = f"{SITE}/shared"
    code = ""
    passing: tuple[str, ...] = ()
    cleaning: Cleaning | None = None
    shared: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    stubs: tuple[tuple[str, str], ...] = ()
    php: tuple[str, ...] = ()

    def table_prefix(self, _deployment: str) -> str:
        """Return what the names of a deployment's tables begin with."""
        return ""

    def nginx(self, job: MachineJob) -> str:
        """Return nginx's locations."""
        raise NotImplementedError

    def settings(self, job: MachineJob) -> str:
        """Return the settings (PHP) that every release reads."""
        raise NotImplementedError

    def items(self, job: MachineJob) -> tuple[Item, ...]:
        """Return the folders that it writes to, and its programs."""
        raise NotImplementedError

    def cron(self, job: MachineJob) -> str:
        """Return its crontab."""
        raise NotImplementedError

    def prepare(self) -> str:
        """Return the program that makes the database fit a release."""
        return render(f"{self.kind}/prepare.php.j2", scratch=SCRATCH, certificate=DATABASE_TRUST)

    def parts(self, job: MachineJob, _facts: Facts) -> tuple[Part, ...]:
        """Return the folders, the settings, cron, and the release with its database. Of several
        webservers one prepares the database, once: the others find it fit."""
        code = job.code
        assert code is not None, "a release is fetched before a machine is configured"
        settings = f"{SITE}/settings/{self.kind}.php"
        prepare = f"{LIBRARY}/{self.kind}-prepare.php"
        order: dict[str, Any] = {
            "digest": code.digest,
            "commit": code.commit,
            "folder": code.folder,
            "writable": list(self.shared),
            "own": list(self.own),
            "apart": list(self.apart),
            "files": {path: stub % f"'{settings}'" for path, stub in self.stubs},
            "host": job.hosts[0],
            "health_path": self.health_path,
        }
        several = job.mode == "production"
        if several:
            order |= {"mounted": True, "folders": list(self.kept)}
        steps = [_step("release", order)] if several else []
        if job.prepares:
            first = {
                **order,
                "prepare": ["runuser", "-u", "www-data", "--", "php", *self.php, prepare],
                "input": json.dumps(self.wanted(job)),
            }
            steps.insert(0, _step("install" if several else "release", first))
        # a mount shows all as PHP's
        owner = "www-data" if several else "root"
        kept = () if several else written(*(f"{SITE}/shared/{path}" for path in self.kept))
        certificate, handler = trust(job.database.certificate)
        return (
            Part(
                self.kind,
                items=(
                    certificate,
                    *(Folder(f"{SITE}{path}") for path in ("", "/releases")),
                    Folder(f"{SITE}/shared", owner=owner, group=owner),
                    *kept,
                    Folder(f"{SITE}/settings", mode=0o750, group="www-data"),
                    File(settings, Secret(self.settings(job)), mode=0o640, group="www-data"),
                    File(_RELEASE, source("release")),
                    File(prepare, self.prepare()),
                    *self.items(job),
                    File(APPLICATION_CRON, self.cron(job))
                    if job.leader
                    else Absent(APPLICATION_CRON),
                ),
                handlers=(handler,),
                steps=tuple(steps),
            ),
        )

    def wanted(self, job: MachineJob) -> dict[str, Any]:
        """Return what the program that makes the database fit reads."""
        app = job.application
        password = job.secrets["database_password"].reveal()
        return {
            "database": {**asdict(job.database), "password": password},
            "prefix": self.table_prefix(job.deployment),
            "title": app.title,
            "user": app.admin_user,
            "email": app.admin_email,
            "password": job.secrets["admin_password"].reveal(),
            "host": job.hosts[0],
            "restored": app.restored,
            "former": app.former_hosts,
            # what says that the content is this deployment's: another one has another
            "mark": sha256(b"content" + job.secrets["salts"].reveal().encode()).hexdigest(),
        }


def _step(name: str, order: dict[str, Any]) -> Step:
    command, observe = f"python3 -I {_RELEASE}", f"readlink {SITE}/current"
    return Step(name, command, observe, Secret(json.dumps(order)))


def written(*paths: str) -> tuple[Folder, ...]:
    """Return folders that PHP alone writes to."""
    return tuple(Folder(path, mode=0o2770, owner="www-data", group="www-data") for path in paths)

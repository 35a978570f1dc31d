"""Moodle from its project's own release, which the answers name with its checksum.

What people put in is in Moodle's data folder, beside the releases and in no path that visitors can
name. Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from hashlib import sha256

from wizard.applications.moodle_private import CLEANING
from wizard.applications.released import SCRATCH, Released, written
from wizard.machines.certificates import DATABASE_TRUST
from wizard.machines.desired import Item
from wizard.machines.job import MachineJob
from wizard.machines.places import SITE
from wizard.machines.templates import render
from wizard.machines.webserver import SOCKET

_DATA = f"{SITE}/shared/moodledata"
_DRIVERS = {"mariadb": "mariadb", "mysql": "mysqli", "postgresql": "pgsql"}


class Moodle(Released):
    """Moodle of the release that the answers name."""

    kind = "moodle"
    health_path = "/login/index.php"
    cleaning = CLEANING
    kept = ("moodledata",)
    stubs = (("config.php", "<?php\nrequire %s;\nrequire_once __DIR__ . '/lib/setup.php';\n"),)
    # Moodle asks for as many on the command line as for visitors
    php = ("-d", "max_input_vars=5000")

    def table_prefix(self, deployment: str) -> str:
        """Return the prefix of the deployment's tables: the same each time, unlike its
        neighbours'."""
        return f"m{sha256(deployment.encode()).hexdigest()[:5]}_"

    def nginx(self, _job: MachineJob) -> str:
        """Return nginx's locations for Moodle."""
        return render("nginx/moodle.conf.j2", root=f"{SITE}/current", socket=SOCKET)

    def settings(self, job: MachineJob) -> str:
        """Return the settings that each release reads."""
        return render(
            "moodle/config.php.j2",
            driver=_DRIVERS[job.database.engine],
            certificate=DATABASE_TRUST,
            database=job.database,
            password=job.secrets["database_password"].reveal(),
            prefix=self.table_prefix(job.deployment),
            hosts=job.hosts,
            data=_DATA,
            scratch=SCRATCH,
        )

    def items(self, _job: MachineJob) -> tuple[Item, ...]:
        """Return the folders that Moodle writes to."""
        return written(SCRATCH)

    def cron(self, _job: MachineJob) -> str:
        """Return the crontab."""
        return render("cron/moodle.j2")

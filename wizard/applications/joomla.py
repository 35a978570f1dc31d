"""Joomla from its project's own release, which the answers name with its checksum.

Its installer stands apart from the release: a site that has it in its folder serves nothing else.
Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import hashlib
from typing import Any

from wizard.applications.joomla_private import CLEANING
from wizard.applications.released import SCRATCH, Released, written
from wizard.machines.certificates import DATABASE_TRUST
from wizard.machines.desired import Item
from wizard.machines.job import MachineJob
from wizard.machines.places import SITE
from wizard.machines.templates import render
from wizard.machines.webserver import SOCKET


class Joomla(Released):
    """Joomla of the release that the answers name."""

    kind = "joomla"
    health_path = "/administrator/index.php"
    cleaning = CLEANING
    shared = ("images",)
    # which classes there are, among others: that is of one release
    own = ("cache", "administrator/cache")
    apart = ("installation",)
    stubs = (("configuration.php", "<?php\nrequire_once %s;\n"),)

    def table_prefix(self, deployment: str) -> str:
        """Return the prefix of the deployment's tables: the same each time, unlike its
        neighbours'."""
        return f"j{hashlib.sha256(deployment.encode()).hexdigest()[:5]}_"

    def nginx(self, _job: MachineJob) -> str:
        """Return nginx's locations for Joomla."""
        return render("nginx/joomla.conf.j2", root=f"{SITE}/current", socket=SOCKET)

    def settings(self, job: MachineJob) -> str:
        """Return the settings that each release reads."""
        salts = job.secrets["salts"].reveal()
        return render(
            "joomla/configuration.php.j2",
            title=job.application.title,
            email=job.application.admin_email,
            database=job.database,
            password=job.secrets["database_password"].reveal(),
            prefix=self.table_prefix(job.deployment),
            certificate=DATABASE_TRUST,
            # one way, so that what knows it knows no other application's
            salt=hashlib.sha256(b"joomla" + salts.encode()).hexdigest(),
            scratch=SCRATCH,
        )

    def items(self, _job: MachineJob) -> tuple[Item, ...]:
        """Return the folders that Joomla writes to, beside those of the release."""
        return written(SCRATCH, f"{SCRATCH}/temporary", f"{SCRATCH}/logs")

    def cron(self, _job: MachineJob) -> str:
        """Return the crontab."""
        return render("cron/joomla.j2")

    def wanted(self, job: MachineJob) -> dict[str, Any]:
        """Return what the program that makes the database fit reads."""
        assert job.code is not None
        return {**super().wanted(job), "apart": f"{SITE}/apart/{job.code.digest[:16]}"}

"""Drupal from its project's own release, which the answers name with its checksum.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import hashlib

from wizard.applications.drupal_private import CLEANING
from wizard.applications.released import SCRATCH, Released, written
from wizard.machines.certificates import DATABASE_TRUST
from wizard.machines.desired import File, Item
from wizard.machines.job import MachineJob
from wizard.machines.places import LIBRARY, SITE
from wizard.machines.templates import render
from wizard.machines.webserver import SOCKET

_FILES = "sites/default/files"
_PRIVATE = f"{SITE}/shared/private"
_CONFIGURATION = f"{SITE}/shared/configuration"
_CRON = f"{LIBRARY}/drupal-cron.php"


class Drupal(Released):
    """Drupal of the release that the answers name."""

    kind = "drupal"
    health_path = "/user/login"
    cleaning = CLEANING
    shared = (_FILES,)
    kept = ("private", "configuration")
    stubs = (("sites/default/settings.php", "<?php\nrequire %s;\n"),)

    def nginx(self, _job: MachineJob) -> str:
        """Return nginx's locations for Drupal."""
        return render("nginx/drupal.conf.j2", root=f"{SITE}/current", socket=SOCKET)

    def settings(self, job: MachineJob) -> str:
        """Return the settings that each release reads."""
        assert job.code is not None
        return render(
            "drupal/settings.php.j2",
            database=job.database,
            password=job.secrets["database_password"].reveal(),
            certificate=DATABASE_TRUST,
            # one way, so that what knows it knows no other application's
            salt=hashlib.sha512(b"drupal" + job.secrets["salts"].reveal().encode()).hexdigest(),
            release=job.code.digest[:16],
            hosts=job.hosts,
            private=_PRIVATE,
            configuration=_CONFIGURATION,
            scratch=SCRATCH,
        )

    def items(self, job: MachineJob) -> tuple[Item, ...]:
        """Return the folders that Drupal writes to, and the program that cron runs."""
        return (
            *written(SCRATCH, f"{SCRATCH}/temp"),
            File(_CRON, render("drupal/cron.php.j2", host=job.hosts[0])),
        )

    def cron(self, _job: MachineJob) -> str:
        """Return the crontab."""
        return render("cron/drupal.j2", program=_CRON)

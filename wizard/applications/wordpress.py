"""WordPress from Debian's package.

Core is `/usr/share/wordpress`, read-only to PHP and upgraded by apt (unattended-upgrades brings
its security fixes within a day). What people add (themes, plugins, uploads) is Debian's
`/var/lib/wordpress/wp-content`, owned by www-data, so WordPress installs and updates it itself.
Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import json
from hashlib import sha256

from wizard.applications.wordpress_private import CLEANING
from wizard.machines import common_files
from wizard.machines.certificates import DATABASE_TRUST, trust
from wizard.machines.desired import Absent, Facts, File, Folder, Part, Step
from wizard.machines.job import CodeSettings, MachineJob
from wizard.machines.places import APPLICATION_CRON, LIBRARY, MARKER, PAGE_CACHE
from wizard.machines.remote import source
from wizard.machines.templates import render
from wizard.secrets import Secret

CORE = "/usr/share/wordpress"
CONTENT = "/var/lib/wordpress/wp-content"
_MOVE = f"{LIBRARY}/wordpress-move.php"
UPLOADS = f"{CONTENT}/uploads"
_SALT_NAMES = (
    "AUTH_KEY",
    "SECURE_AUTH_KEY",
    "LOGGED_IN_KEY",
    "NONCE_KEY",
    "AUTH_SALT",
    "SECURE_AUTH_SALT",
    "LOGGED_IN_SALT",
    "NONCE_SALT",
)


def table_prefix(deployment: str) -> str:
    """Return the prefix of the deployment's tables: the same each time, unlike its neighbours'."""
    return f"wp{sha256(deployment.encode()).hexdigest()[:5]}_"


class WordPress:
    """Debian's WordPress."""

    packages = ("wordpress", "wordpress-theme-twentytwentyfive")
    writable = (CONTENT,)
    uploads = UPLOADS
    code = CONTENT
    passing = (
        "uploads",
        "cache",
        "upgrade",
        "upgrade-temp-backup",
        "backups",
        "ai1wm-backups",
        "updraft",
        "wflogs",
        "*.log",
        "*/error_log",
        "mu-plugins/build-usb.php",
    )
    cleaning = CLEANING

    def table_prefix(self, deployment: str) -> str:
        """Return what the names of a deployment's tables begin with."""
        return table_prefix(deployment)

    def nginx(self, _job: MachineJob) -> str:
        """Return nginx's locations for WordPress."""
        return render("nginx/wordpress.conf.j2", core=CORE, content=CONTENT)

    def parts(self, job: MachineJob, _facts: Facts) -> tuple[Part, ...]:
        """Return configuration, page cache plugin, cron and the installation itself."""
        app = job.application
        config = render(
            "wordpress/config.php.j2",
            database=job.database,
            password=job.secrets["database_password"].reveal(),
            prefix=table_prefix(job.deployment),
            salt_names=_SALT_NAMES,
            salts=_salts(job),
            hosts=job.hosts,
            content=CONTENT,
            cache=PAGE_CACHE,
            # what one webserver alone has is lost with it, and missing on the others
            fixed=job.mode == "production",
        )
        wanted = {
            "title": app.title,
            "user": app.admin_user,
            "email": app.admin_email,
            "password": job.secrets["admin_password"].reveal(),
            "locale": app.locale,
            "restored": app.restored,
        }
        certificate, trusting = trust(job.database.certificate)
        program = f"{LIBRARY}/wordpress-install.php"
        cron_program = f"{LIBRARY}/wordpress-cron.php"
        moved = _moved(job) if app.restored else None
        return (
            Part(
                "wordpress",
                items=(
                    certificate,
                    File(
                        "/etc/wordpress/config-default.php",
                        Secret(config),
                        mode=0o640,
                        group="www-data",
                    ),
                    Folder(f"{CONTENT}/mu-plugins"),
                    File(f"{CONTENT}/mu-plugins/build-usb.php", render("wordpress/purge.php.j2")),
                    File(program, render("wordpress/install.php.j2", core=CORE, host=job.hosts[0])),
                    File(
                        cron_program, render("wordpress/cron.php.j2", core=CORE, host=job.hosts[0])
                    ),
                    File(APPLICATION_CRON, render("cron/wordpress.j2"))
                    if job.leader
                    else Absent(APPLICATION_CRON),
                    *((File(_MOVE, _mover()),) if moved else ()),
                    *((File(common_files.PROGRAM, source("files")),) if job.code else ()),
                ),
                handlers=(trusting,),
                steps=(
                    *((_carried(job, job.code),) if job.code else ()),
                    *((moved,) if moved else ()),
                    Step(
                        "install",
                        f"runuser -u www-data -- php {program}",
                        f"runuser -u www-data -- php {program} state",
                        Secret(json.dumps(wanted)),
                    ),
                ),
            ),
        )


def _carried(job: MachineJob, code: CodeSettings) -> Step:
    """Return what makes plugins, themes and translations those that all webservers have."""
    # a site that begins has no page to ask for yet
    host = "" if job.application.restored else job.hosts[0]
    order = common_files.order(CONTENT, WordPress.passing, code, host)
    return Step("files", " ".join(common_files.COMMAND), f"cat {CONTENT}/{MARKER}", Secret(order))


def _mover() -> str:
    return render("wordpress/move.php.j2", certificate=DATABASE_TRUST)


def _moved(job: MachineJob) -> Step:
    """Return what makes another deployment's content this one's: table prefix and names."""
    order = {
        "from": job.application.former_hosts,
        "to": job.hosts[0],
        "prefix": table_prefix(job.deployment),
    }
    command = f"runuser -u www-data -- php {_MOVE}"
    return Step("move", command, f"{command} state", Secret(json.dumps(order)))


def _salts(job: MachineJob) -> list[str]:
    salts = json.loads(job.secrets["salts"].reveal())
    return list(salts.values()) if isinstance(salts, dict) else list(salts)

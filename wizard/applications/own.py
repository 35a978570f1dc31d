"""Own code: PHP, or files that are served as they are. It comes as an archive (engine/code.py).

`/srv/site/releases` holds a folder for each release, `current` is the link to the live one, and
`shared` holds what the application writes, which all releases see.
Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import json

from wizard.baselines.cleaning import MARKS, Cleaning
from wizard.machines.certificates import DATABASE_TRUST
from wizard.machines.desired import Absent, Facts, File, Folder, Handler, Item, Part, Step
from wizard.machines.job import CodeSettings, MachineJob
from wizard.machines.places import APPLICATION_CRON, LIBRARY, SITE
from wizard.machines.remote import source
from wizard.machines.templates import render
from wizard.machines.webserver import SOCKET
from wizard.secrets import Secret

_PROGRAM = f"{LIBRARY}/release.py"
_SESSIONS = f"{SITE}/settings/sessions.php"


class Static:
    """Files that are served as they are."""

    packages: tuple[str, ...] = ()
    writable: tuple[str, ...] = (f"{SITE}/shared",)
    uploads = ""
    code = ""
    passing: tuple[str, ...] = ()
    cleaning: Cleaning | None = None
    runs = False

    def table_prefix(self, _deployment: str) -> str:
        """Return nothing: own code names its tables."""
        return ""

    def nginx(self, job: MachineJob) -> str:
        """Return nginx's locations."""
        code = _code(job)
        root = f"{SITE}/current/{code.docroot}".rstrip("/")
        # as visitors name the folders that nothing is run in
        inside = f"{code.docroot}/" if code.docroot else ""
        closed = [path.removeprefix(inside) for path in code.writable if path.startswith(inside)]
        return render("nginx/own.conf.j2", root=root, runs=self.runs, closed=closed, socket=SOCKET)

    def parts(self, job: MachineJob, facts: Facts) -> tuple[Part, ...]:
        """Return the folders, the settings file, cron, the place of sessions, and the release."""
        code = _code(job)
        settings = f"{SITE}/settings/{code.digest[:16]}.env" if code.settings else ""
        mounted = job.mode == "production" and bool(code.writable)
        owner = "www-data" if mounted else "root"
        order = {
            "digest": code.digest,
            "commit": code.commit,
            "writable": code.writable,
            "folder": "",
            "mounted": mounted,
            "links": {".env": settings} if settings else {},
            "host": job.hosts[0],
            "health_path": code.health_path,
        }
        if code.composer:
            order["composer"] = True
        if code.prepare:
            # in the release's folder, as cron.php is in the live one's
            command = ["runuser", "-u", "www-data", "--", "php", "prepare.php"]
            order |= {"prepare": command, "input": "", "beside": True}
        items: list[Item] = [
            Folder(SITE),
            Folder(f"{SITE}/releases"),
            # a mount shows all as PHP's
            Folder(f"{SITE}/shared", owner=owner, group=owner),
            Folder(f"{SITE}/settings", mode=0o750, group="www-data"),
            File(_PROGRAM, source("release")),
        ]
        if settings:
            text = job.secrets["settings"]
            items.append(File(settings, text, mode=0o640, group="www-data"))
        if job.database.certificate:
            # the settings file names it: the server must show this certificate
            items.append(File(DATABASE_TRUST, job.database.certificate))
        cron = code.cron if self.runs and job.leader else ""
        items.append(
            File(APPLICATION_CRON, render("cron/own.j2", when=cron, site=SITE))
            if cron
            else Absent(APPLICATION_CRON)
        )
        release = Step(
            "release",
            f"python3 -I {_PROGRAM}",
            f"readlink {SITE}/current",
            Secret(json.dumps(order)),
        )
        sessions = _sessions(job, facts) if self.runs else ()
        return (Part("own-code", items=tuple(items)), *sessions, Part("release", steps=(release,)))


class Php(Static):
    """Own PHP. Nobody here knows what of it is private: rows are shared of tables that answers
    name."""

    runs = True
    cleaning = Cleaning(
        rows=(),
        version=f"readlink {SITE}/current | sed 's,.*/,,'",
        left_out=MARKS,
        program=f"{SITE}/current/baseline.sql",
    )


def _sessions(job: MachineJob, facts: Facts) -> tuple[Part, ...]:
    """Return what keeps PHP's sessions in the database, where several webservers have it in
    common; one webserver keeps them in files, as PHP does."""
    database = job.database
    service = f"php{facts.php}-fpm"
    settings = f"/etc/php/{facts.php}/fpm/conf.d/91-build-usb-sessions.ini"
    restart = Handler("restart-php", f"php-fpm{facts.php} -t && systemctl restart {service}")
    items: tuple[Item, ...] = (
        Absent(settings, handlers=(restart.name,)),
        Absent(_SESSIONS),
    )
    if job.mode == "production" and database.engine:
        driver = "pgsql" if database.engine == "postgresql" else "mysql"
        dsn = f"{driver}:host={database.address};port={database.port};dbname={database.name}"
        if driver == "pgsql":
            dsn += f";sslmode=verify-full;sslrootcert={DATABASE_TRUST}"
        program = render(
            "php/sessions.php.j2",
            database=database,
            dsn=dsn,
            certificate=DATABASE_TRUST,
            password=job.secrets["database_password"].reveal(),
        )
        ini = render("php/sessions.ini.j2", php=facts.php, program=_SESSIONS)
        items = (
            File(_SESSIONS, Secret(program), mode=0o640, group="www-data"),
            File(settings, ini, handlers=(restart.name,)),
        )
    return (Part("sessions", items=items, handlers=(restart,)),)


def _code(job: MachineJob) -> CodeSettings:
    assert job.code is not None, "own code is fetched before a machine is configured"
    return job.code

"""The database machine with PostgreSQL of Debian's package: for one deployment, over TLS only.

Must not import: pyinfra.
"""

from __future__ import annotations

from wizard.machines.desired import Facts, File, Folder, Handler, Part, Step
from wizard.machines.job import MachineJob
from wizard.machines.places import OURS
from wizard.machines.templates import render
from wizard.rules import Role
from wizard.secrets import Secret

VERSION = "17"
"""Debian 13's."""
CLIENTS = (f"postgresql-client-{VERSION}",)
PACKAGES = (f"postgresql-{VERSION}", *CLIENTS)
SERVICE = f"postgresql@{VERSION}-main.service"
CLIENT = f"{OURS}/database-service.conf"
"""Where PostgreSQL's clients find the server and who administers it, as the service `build-usb`."""
_FOLDER = f"/etc/postgresql/{VERSION}/main"
_OURS = f"{_FOLDER}/build-usb"
# names are sorted as people sort them; who sorts by bytes says so
_LOCALE = " LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'und'"
_MIB_A_CONNECTION = 12


def parts(job: MachineJob, _facts: Facts) -> tuple[Part, ...]:
    """Return PostgreSQL's parts."""
    database = job.database
    restart, reload = ("restart-postgresql",), ("reload-postgresql",)
    addresses = sorted(peer.address for peer in job.peers if peer.role is Role.WEBSERVER)
    reached = {
        "host": "/var/run/postgresql",
        "port": database.port,
        "user": "postgres",
        "dbname": "postgres",
    }

    def own(file: str, **values: object) -> str:
        return render(f"postgresql/{file}.j2", folder=_FOLDER, **values)

    return (
        Part(
            "database",
            items=(
                Folder(_OURS, mode=0o750, group="postgres"),
                File(f"{_OURS}/certificate.pem", database.certificate, handlers=restart),
                File(
                    f"{_OURS}/key.pem",
                    job.secrets["database_tls_key"],
                    mode=0o640,
                    group="postgres",
                    handlers=restart,
                ),
                File(f"{_FOLDER}/conf.d/90-build-usb.conf", settings(job), handlers=restart),
                File(
                    f"{_FOLDER}/pg_hba.conf",
                    own("pg_hba.conf", name=database.name, user=database.user, addresses=addresses),
                    mode=0o640,
                    owner="postgres",
                    group="postgres",
                    handlers=reload,
                ),
                File(
                    f"{_FOLDER}/pg_ident.conf",
                    own("pg_ident.conf"),
                    mode=0o640,
                    owner="postgres",
                    group="postgres",
                    handlers=reload,
                ),
                File(CLIENT, service_file(reached), mode=0o600),
            ),
            handlers=(
                Handler(restart[0], f"systemctl restart {SERVICE}"),
                Handler(reload[0], f"systemctl reload-or-restart {SERVICE}"),
            ),
            services=("postgresql.service", SERVICE),
            steps=(accounts(job, _LOCALE),),
        ),
    )


def service_file(reached: dict[str, object]) -> str:
    """Return the text of CLIENT for these parameters of libpq."""
    return render("postgresql/service.conf.j2", path=CLIENT, settings=reached)


def accounts(job: MachineJob, locale: str = "") -> Step:
    """Return what makes the application's account and database at the server of CLIENT; `locale`:
    the database's, empty: the server's own."""
    database = job.database
    names = {"name": database.name, "user": database.user}
    setup = render(
        "postgresql/setup.sql.j2",
        **names,
        password=job.secrets["database_password"].reveal(),
        locale=locale,
    )
    return Step(
        "accounts",
        f"PGSERVICEFILE={CLIENT} psql --no-psqlrc --quiet --dbname=service=build-usb",
        render("postgresql/observe.sh.j2", client=CLIENT, own=not database.managed, **names),
        Secret(setup),
    )


def settings(job: MachineJob) -> str:
    """Return PostgreSQL's settings for the machine's memory."""
    memory = job.memory
    return render(
        "postgresql/server.conf.j2",
        folder=_FOLDER,
        port=job.database.port,
        address=job.private_address,
        memory=memory,
        # a quarter, for the kernel's own cache of files does the rest
        buffers=max(64, memory // 4),
        cache=max(128, memory // 2),
        maintenance=max(32, memory // 16),
        connections=max(50, min(300, memory // 4 // _MIB_A_CONNECTION)),
    )

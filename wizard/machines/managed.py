"""The database machine of a managed database: no server of its own, but its administrator's client,
which makes the application's database and account there, and the backups. Must not import: pyinfra.
"""

from __future__ import annotations

from wizard.machines import postgresql
from wizard.machines.desired import Facts, File, Part, Step
from wizard.machines.job import MachineJob
from wizard.machines.places import OURS
from wizard.machines.templates import render
from wizard.secrets import Secret

CLIENT = f"{OURS}/database-admin.cnf"
"""Where MariaDB's client finds server, administrator and password; nobody else may read it."""
_AUTHORITY = f"{OURS}/database-authority.pem"


def parts(job: MachineJob, _facts: Facts) -> tuple[Part, ...]:
    """Return the client and what it makes at the server; who does not know the administrator, as
    autoscalers do not, leaves both as they are: one account serves all webservers.
    """
    if not job.database.admin:
        return ()
    own = _postgresql(job) if job.database.engine == "postgresql" else _mysql(job)
    return (
        Part(
            "database",
            items=(File(_AUTHORITY, job.database.certificate), own[0]),
            steps=(own[1],),
        ),
    )


def _postgresql(job: MachineJob) -> tuple[File, Step]:
    database = job.database
    reached = {
        "host": database.address,
        "port": database.port,
        "user": database.admin,
        "password": job.secrets["database_admin_password"].reveal(),
        "dbname": database.first,
        # only this authority, and only for that name
        "sslmode": "verify-full",
        "sslrootcert": _AUTHORITY,
        "connect_timeout": 20,
    }
    client = Secret(postgresql.service_file(reached))
    return File(postgresql.CLIENT, client, mode=0o600), postgresql.accounts(job)


def _mysql(job: MachineJob) -> tuple[File, Step]:
    database = job.database
    client = render(
        "mysql/client.cnf.j2",
        database=database,
        password=job.secrets["database_admin_password"].reveal(),
        authority=_AUTHORITY,
    )
    setup = render(
        "mysql/setup.sql.j2",
        name=database.name,
        user=database.user,
        password=job.secrets["database_password"].reveal(),
    )
    return (
        File(CLIENT, Secret(client), mode=0o600),
        Step(
            "accounts",
            f"mariadb --defaults-extra-file={CLIENT} --batch --abort-source-on-error",
            render("mysql/observe.sh.j2", client=CLIENT, user=database.user),
            Secret(setup),
        ),
    )

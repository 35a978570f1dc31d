"""The database machine of a managed database: no server of its own, but its administrator's client,
which makes the application's database and account there, and the backups. Must not import: pyinfra.
"""

from __future__ import annotations

from wizard.machines.desired import Facts, File, Part, Step
from wizard.machines.job import MachineJob
from wizard.machines.places import OURS
from wizard.machines.templates import render
from wizard.secrets import Secret

CLIENT = f"{OURS}/database-admin.cnf"
"""Where MariaDB's client finds server, administrator and password; nobody else may read it."""
_AUTHORITY = f"{OURS}/database-authority.pem"


def parts(job: MachineJob, _facts: Facts) -> tuple[Part, ...]:
    """Return the client and what it makes at the server."""
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
        Part(
            "database",
            items=(
                File(_AUTHORITY, database.certificate),
                File(CLIENT, Secret(client), mode=0o600),
            ),
            steps=(
                Step(
                    "accounts",
                    f"mariadb --defaults-extra-file={CLIENT} --batch --abort-source-on-error",
                    render("mysql/observe.sh.j2", client=CLIENT, user=database.user),
                    Secret(setup),
                ),
            ),
        ),
    )

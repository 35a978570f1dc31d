"""The database machine: MariaDB for one deployment, over TLS only. Must not import: pyinfra."""

from __future__ import annotations

from wizard.machines.desired import Facts, File, Folder, Handler, Part, Step
from wizard.machines.job import MachineJob
from wizard.machines.templates import render
from wizard.rules import Role
from wizard.secrets import Secret

_FOLDER = "/etc/mysql/build-usb"
_MIB_A_CONNECTION = 8


def parts(job: MachineJob, _facts: Facts) -> tuple[Part, ...]:
    """Return MariaDB's parts."""
    restart = ("restart-mariadb",)
    database = job.database
    addresses = sorted(peer.address for peer in job.peers if peer.role is Role.WEBSERVER)
    setup = render(
        "mariadb/setup.sql.j2",
        name=database.name,
        user=database.user,
        addresses=addresses,
        password=job.secrets["database_password"].reveal(),
    )
    return (
        Part(
            "database",
            items=(
                Folder(_FOLDER, mode=0o750, group="mysql"),
                File(f"{_FOLDER}/certificate.pem", database.certificate, handlers=restart),
                File(
                    f"{_FOLDER}/key.pem",
                    job.secrets["database_tls_key"],
                    mode=0o640,
                    group="mysql",
                    handlers=restart,
                ),
                File(
                    "/etc/mysql/mariadb.conf.d/90-build-usb.cnf",
                    settings(job),
                    handlers=restart,
                ),
            ),
            handlers=(Handler(restart[0], "systemctl restart mariadb"),),
            services=("mariadb.service",),
            steps=(
                Step(
                    "accounts",
                    "mariadb --batch --abort-source-on-error",
                    render("mariadb/observe.sh.j2", user=database.user),
                    Secret(setup),
                ),
            ),
        ),
    )


def settings(job: MachineJob) -> str:
    """Return MariaDB's settings for the machine's memory."""
    memory = job.memory
    return render(
        "mariadb/server.cnf.j2",
        port=job.database.port,
        address=job.private_address,
        memory=memory,
        # half of a machine that does nothing else, and what is left serves connections
        buffer_pool=max(128, memory // 2 // 64 * 64),
        log_file=max(64, memory // 16 // 16 * 16),
        connections=max(50, min(500, memory // 4 // _MIB_A_CONNECTION)),
    )

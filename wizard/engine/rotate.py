"""Replaces the host key of the first boot, which user-data has shown to the machine's processes.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import json

from wizard.engine import ssh
from wizard.errors import MachineError
from wizard.machines.job import Connection
from wizard.machines.remote import source
from wizard.secrets import Secret


def rotate_host_key(
    connection: Connection, new_private: Secret, new_public: str, deadline: float = 180.0
) -> None:
    """Make the machine show `new_public` and forget its first host key; waits up to `deadline`
    seconds for SSH. `connection` pins the first key. Safe to repeat after a kill at any point."""
    client, shown = ssh.connect_until(connection, (new_public, connection.host_key), deadline)
    with client:
        keys = (
            {} if shown == new_public else {"private": new_private.reveal(), "public": new_public}
        )
        status, _, errors = ssh.run(
            client, ["python3", "-c", source("rotate")], json.dumps(keys), seconds=60
        )
    if status != 0:
        raise MachineError(
            "the machine's host key could not be replaced",
            where=connection.address,
            why="\n".join(errors.splitlines()[-10:]),
            cure="run the same command again; if it fails again, destroy this machine and deploy",
        )
    if shown != new_public:
        ssh.connect_until(connection, (new_public,), 30.0)[0].close()

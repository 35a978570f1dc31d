"""What a machine is given at birth: cloud-init user-data with its host key and our public key.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

from wizard.machines.templates import render
from wizard.secrets import Secret


def user_data(
    name: str,
    ssh_port: int,
    host_private_key: Secret,
    host_public_key: str,
    *authorized_keys: str,
) -> Secret:
    """Return cloud-init's user-data for a machine. The host key in it must be rotated after the
    first connection: user-data can be read by every process of the machine."""
    return Secret(
        render(
            "cloud-init/user-data.yaml.j2",
            hostname=name,
            ssh_port=ssh_port,
            host_private_key=host_private_key.reveal(),
            host_public_key=host_public_key,
            authorized_keys=authorized_keys,
            sshd_config=render("common/sshd.conf.j2", ssh_port=ssh_port, page_port=0),
        )
    )

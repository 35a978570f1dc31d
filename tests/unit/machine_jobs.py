"""A complete MachineJob for tests."""

from __future__ import annotations

from typing import Any

from wizard.machines.job import (
    ApplicationSettings,
    BucketSettings,
    Connection,
    DatabaseSettings,
    MachineJob,
    Peer,
    Phase,
    TlsSettings,
)
from wizard.rules import Role
from wizard.secrets import Secret

SECRETS = (
    "storage-secret-0001",
    "AGE-SECRET-KEY-TEST-0002",
    "database-password-0003",
    "-----BEGIN TEST KEY----- 0004",
    "admin-password-0005",
    "database-admin-password-0006",
)


def machine_job(**changed: Any) -> MachineJob:
    """Return the job of web1's BASE phase with some fields changed."""
    storage, age, database, tls_key, admin, database_admin = (Secret(value) for value in SECRETS)
    values: dict[str, Any] = {
        "deployment": "demo",
        "name": "web1",
        "role": Role.WEBSERVER,
        "phase": Phase.BASE,
        "connection": Connection("127.0.0.1", 1, Secret("key"), "ssh-ed25519 AAAA"),
        "mode": "development",
        "timezone": "Etc/UTC",
        "ssh_port": 1035,
        "private_address": "10.77.0.11",
        "network_cidr": "10.77.0.0/24",
        "build_machine": "10.77.0.2",
        "memory": 1024,
        "firewall": True,
        "rules": (),
        "peers": (
            Peer("web1", Role.WEBSERVER, "10.77.0.11"),
            Peer("db1", Role.DATABASE, "10.77.0.12"),
        ),
        "hosts": ("www.rehearsal.test", "rehearsal.test", "127.77.0.11"),
        "bucket": BucketSettings("demo-bucket", "http://10.77.0.3:9000", "us-east-1", "KEYID"),
        "database": DatabaseSettings("mariadb", "10.77.0.12", 2035, "demo", "demo", "CERT\n"),
        "tls": TlsSettings("https://acme.test/dir", "admin@rehearsal.test", "ROOT\n"),
        "application": ApplicationSettings(
            "wordpress", "Tom's", "boss", "boss@rehearsal.test", "en_US"
        ),
        "age_recipients": ("age1test",),
        "secrets": {
            "storage_secret_key": storage,
            "age_identity": age,
            "database_password": database,
            "database_tls_key": tls_key,
            "admin_password": admin,
            "database_admin_password": database_admin,
            "salts": Secret('["1","2","3","4","5","6","7","8"]'),
        },
    }
    return MachineJob(**{**values, **changed})

"""The server behind an emulated managed database: MariaDB or PostgreSQL on a machine of the lab of
its own, with TLS by the vendor's authority and an administrator with no more rights than there."""

from __future__ import annotations

from typing import Any

from tests.emulators.authority import Authority
from tests.emulators.rented_server import RentedServer

# what RDS gives its administrator: everything but files, the server itself and others' processes
_RIGHTS = """SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX,
ALTER, SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE,
BINLOG MONITOR, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT,
TRIGGER"""
_SETUP = """
cd /etc/mysql
printf '%s' "$CERTIFICATE" > server.pem
(umask 077; printf '%s' "$KEY" > server.key)
chown mysql: server.key
cat > mariadb.conf.d/90-rented.cnf <<EOF
[mariadbd]
port = $PORT
bind-address = 0.0.0.0
require-secure-transport = $ON
ssl-cert = /etc/mysql/server.pem
ssl-key = /etc/mysql/server.key
EOF
systemctl restart mariadb
"""
_SETUP_POSTGRESQL = """
cd /etc/postgresql/17/main
printf '%s' "$CERTIFICATE" > server.pem
(umask 077; printf '%s' "$KEY" > server.key)
chown postgres: server.key
cat > conf.d/90-rented.conf <<EOF
port = $PORT
listen_addresses = '*'
ssl = on
ssl_cert_file = '$PWD/server.pem'
ssl_key_file = '$PWD/server.key'
EOF
cat > pg_hba.conf <<EOF
local all postgres peer
$HOST all all all scram-sha-256
EOF
systemctl restart postgresql@17-main
"""


class RentedDatabase(RentedServer):
    """It answers at `host`, which the name server has to know as `address`, some time after this
    returns.

    `tls_alone`: nobody is let in without TLS. PostgreSQL's administrator is of the roles `groups`,
    which the vendor has made, and connects to the database `first`."""

    def __init__(
        self,
        laboratory: Any,
        authority: Authority,
        host: str,
        port: int,
        user: str,
        password: str,
        *,
        postgresql: bool = False,
        tls_alone: bool = True,
        groups: tuple[str, ...] = (),
        first: str = "defaultdb",
    ) -> None:
        super().__init__(laboratory, "managed")
        self._postgresql = postgresql
        self._tls_alone = tls_alone
        self._groups = groups
        self._first = first
        self._given = (authority, host, port, user, password)
        self.begin()

    def set_up(self) -> None:
        authority, host, port, user, password = self._given
        certificate, key = authority.sign(host)
        values = {
            "CERTIFICATE": certificate,
            "KEY": key,
            "PORT": str(port),
            "ON": "ON" if self._tls_alone else "OFF",
            "HOST": "hostssl" if self._tls_alone else "host",
        }
        named = [f"{name}={value}" for name, value in values.items()]
        setup = _SETUP_POSTGRESQL if self._postgresql else _SETUP
        self.enter("env", *named, "sh", "-ec", setup)
        if self._postgresql:
            self.sql(f"CREATE ROLE {user} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")
            for group in self._groups:
                self.sql(f"CREATE ROLE {group} IN ROLE pg_monitor, pg_signal_backend")
                self.sql(f"GRANT {group} TO {user}")
            if self._first == "postgres":
                self.sql(f"ALTER DATABASE postgres OWNER TO {user}")
            else:
                self.sql(f"CREATE DATABASE {self._first} OWNER {user}")
            return
        self.sql(
            f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}' REQUIRE SSL; "
            f"GRANT {_RIGHTS} ON *.* TO '{user}'@'%' WITH GRANT OPTION"
        )

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Ask the server as its own root; PostgreSQL's about a database of it."""
        if self._postgresql:
            port = str(self._given[2])
            asked = ("psql", "-p", port, "-XqAtc", statement, database)
            return self.enter("runuser", "-u", "postgres", "--", *asked)
        # its own certificate means nothing to it
        return self.enter(
            "mariadb", "--skip-ssl", "--batch", "--skip-column-names", "-e", statement
        )

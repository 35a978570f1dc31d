"""The application's database server, by PostgreSQL's own programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from wizard.agent.errors import AgentError
from wizard.agent.mariadb import ask, load

_SERVICE = "service=build-usb"
_TRIES = 5
# a new database is like the live one: its owner, how it sorts, who may connect
_LIKE = """SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING %L LC_COLLATE %L '
  'LC_CTYPE %L', '{new}', pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate,
  datctype) || CASE datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L',
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')) ELSE '' END
  FROM pg_database d WHERE datname = '{live}'
\\gexec
REVOKE ALL ON DATABASE "{new}" FROM PUBLIC;"""
# the second waits for who is still there, and lets nobody in meanwhile; who administers a rented
# server may not end what its landlord does there
_SWAP = """BEGIN;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = '{live}' AND pid <> pg_backend_pid() AND pg_has_role(usesysid, 'USAGE');
ALTER DATABASE "{live}" RENAME TO "{old}";
ALTER DATABASE "{new}" RENAME TO "{live}";
COMMIT;"""


@dataclass(frozen=True)
class Server:
    """The application's database; the file `client_file` says, as the service `build-usb` of
    libpq, how the server is reached and who administers it. `managed`: it is on no machine of
    ours."""

    database: str
    client_file: str
    managed: bool = False
    ending = b"-- PostgreSQL database dump complete"

    @property
    def folder(self) -> str:
        """Return where its data is on this machine, empty if it is elsewhere."""
        return "" if self.managed else "/var/lib/postgresql"

    def _command(self, program: str, database: str, role: str = "") -> list[str]:
        """Return the beginning of a command that asks the server about a database, as `role`."""
        named = [f"PGSERVICEFILE={self.client_file}", *([f"PGOPTIONS=-c role={role}"] * bool(role))]
        name = [f"--dbname={_SERVICE} dbname={database}"] if database else [f"--dbname={_SERVICE}"]
        return ["env", *named, program, "--no-password", *name]

    def dump_command(self) -> list[str]:
        """Return the command that prints the whole database as of one moment."""
        return [*self._command("pg_dump", self.database), "--no-owner", "--no-privileges"]

    def load(self, name: str, dump: IO[bytes] | None) -> str:
        """Load a dump into a database, as the application, whose tables they are; return why that
        failed, empty if it did not."""
        command = self._command("psql", name, self._owner())
        return load([*command, *_QUIETLY, "--single-transaction"], dump)

    def sql(self, statement: str, database: str = "") -> str:
        """Run statements and return what they print; AgentError with the server's words."""
        return ask([*self._command("psql", database), *_QUIETLY], statement)

    def tables(self, database: str) -> list[str]:
        """Return the names of a database's tables, with their schemas."""
        found = self.sql(
            "SELECT schemaname || '.' || tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
            database,
        )
        return [line for line in found.splitlines() if line]

    def make(self, name: str) -> None:
        """Make a database, empty, in place of one that was left."""
        self.drop(name)
        self.sql(_LIKE.format(new=name, live=self.database))

    def drop(self, name: str) -> None:
        """Throw a database away, whoever is connected to it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextlib.contextmanager
    def staged(self) -> Iterator[str]:
        """Yield the name of an empty database; at the end it takes the place of the live one, from
        one moment to the next. Unless something fails: then all is as it was."""
        live, new, old = self.database, f"{self.database}_new", f"{self.database}_old"
        self.drop(old)
        self.make(new)
        try:
            yield new
            if not self.tables(new):
                raise AgentError("what is to be loaded holds no table")
            self._swap(live, new, old)
        except BaseException:
            self.drop(new)
            raise
        self.drop(old)

    def _swap(self, live: str, new: str, old: str) -> None:
        for last in range(_TRIES - 1, -1, -1):
            try:
                self.sql(_SWAP.format(live=live, new=new, old=old))
            except AgentError as error:
                # somebody came between the first and the second
                if not last or "accessed by other users" not in str(error):
                    raise
            else:
                return

    def _owner(self) -> str:
        asked = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname ="
        return self.sql(f"{asked} '{self.database}'").strip()


_QUIETLY = ("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1")

"""The application's database server, by MariaDB's own programs."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wizard.agent.errors import AgentError
from wizard.agent.state import write_whole

LONGEST = 6 * 3600.0
"""Seconds that one program may take."""
_ACCOUNT = "build_usb_load"
# Rows are put into statements until one is full: after a row that changed its length all statements
# of a megabyte begin elsewhere, and no part of the dump is what it was. Short ones fall into step
# again soon. A commit after each would make loading slow: one a table.
_ALIKE = ("--net-buffer-length=4096", "--no-autocommit")


def load(command: list[str], dump: IO[bytes] | None) -> str:
    """Give a dump to a client; return why that failed, empty if it did not."""
    loaded = subprocess.run(command, stdin=dump, capture_output=True, timeout=LONGEST, check=False)
    said = loaded.stderr.decode(errors="replace").strip()[-300:]
    return (said or f"exit {loaded.returncode}") if loaded.returncode else ""


def ask(command: list[str], statement: str) -> str:
    """Give statements to a client and return what it prints; AgentError with the server's words."""
    done = subprocess.run(
        command,
        input=statement,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    if done.returncode:
        raise AgentError(f"the database refuses: {done.stderr.strip()[:300]}")
    return done.stdout


@dataclass(frozen=True)
class Server:
    """The application's database; `client_file` says how MariaDB's client reaches a server
    elsewhere; empty: this machine's."""

    database: str
    client_file: str = ""
    # stands in the last line of a dump that is whole
    ending = b"-- Dump completed"

    @property
    def folder(self) -> str:
        """Return where its data is on this machine, empty if it is elsewhere."""
        return "" if self.client_file else "/var/lib/mysql"

    def command(self, program: str) -> list[str]:
        """Return the beginning of a command that asks the server."""
        # where it is given, it has to be the first
        named = [f"--defaults-extra-file={self.client_file}"] if self.client_file else []
        return [program, *named]

    def dump_command(self) -> list[str]:
        """Return the command that prints the whole database as of one moment."""
        return [*self.command("mariadb-dump"), "--single-transaction", "--quick", "--routines",
                "--triggers", "--events", "--hex-blob", "--skip-lock-tables", "--no-tablespaces",
                *_ALIKE, self.database]  # fmt: skip

    def sql(self, statement: str) -> str:
        """Run statements and return what they print; AgentError with the server's words."""
        return ask([*self.command("mariadb"), "--batch", "--skip-column-names"], statement)

    def tables(self, database: str) -> list[str]:
        """Return the names of a database's tables."""
        found = self.sql(
            "SELECT table_name FROM information_schema.tables "  # noqa: S608 - a name of our own
            f"WHERE table_schema = '{database}' AND table_type = 'BASE TABLE'",
        )
        return [line for line in found.splitlines() if line]

    def make(self, name: str) -> None:
        """Make a database, empty, in place of one that was left."""
        self.sql(
            f"DROP DATABASE IF EXISTS `{name}`; CREATE DATABASE `{name}` "
            "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
        )

    def drop(self, name: str) -> None:
        """Throw a database away, if it is there."""
        self.sql(f"DROP DATABASE IF EXISTS `{name}`")

    def load(self, name: str, dump: IO[bytes] | None) -> str:
        """Load a dump into a database; return why that failed, empty if it did not."""
        return load([*self.command("mariadb"), "--batch", name], dump)

    @contextlib.contextmanager
    def account(self, name: str, rights: str, runtime: Path) -> Iterator[Path]:
        """Yield the settings (a file in `runtime`) of an account of this machine's server that has
        these rights on one database, and no others. Its programs need `--defaults-file`."""
        password = secrets.token_hex(24)
        account = f"'{_ACCOUNT}'@'localhost'"
        pattern = name.replace("_", "\\_")
        self.sql(
            f"DROP USER IF EXISTS {account}; CREATE USER {account} IDENTIFIED BY '{password}'; "
            f"GRANT {rights} ON `{pattern}`.* TO {account}",
        )
        settings = runtime / "load.cnf"
        write_whole(settings, f"[client]\nuser={_ACCOUNT}\npassword={password}\n".encode())
        try:
            yield settings
        finally:
            settings.unlink(missing_ok=True)
            self.sql(f"DROP USER IF EXISTS {account}")

    @contextlib.contextmanager
    def staged(self) -> Iterator[str]:
        """Yield the name of an empty database; at the end its tables change places with the live
        ones, in one statement. Unless something fails: then all is as it was."""
        live, new, old = self.database, f"{self.database}_new", f"{self.database}_old"
        for name in (new, old):
            self.make(name)
        away = f"DROP DATABASE `{new}`; DROP DATABASE `{old}`"
        try:
            yield new
            wanted, present = self.tables(new), self.tables(live)
            if not wanted:
                raise AgentError("what is to be loaded holds no table")
        except BaseException:
            self.sql(away)
            raise
        moves = [f"`{live}`.`{t}` TO `{old}`.`{t}`" for t in present]
        moves += [f"`{new}`.`{t}` TO `{live}`.`{t}`" for t in wanted]
        # one statement: no visitor sees a half of each
        self.sql(f"SET foreign_key_checks = 0; RENAME TABLE {', '.join(moves)}")
        self.sql(away)

"""What of an application is private, as data, and the SQL that cleans a copy of its database.

Each application tells it of itself (wizard.applications.base). Table names are without prefix;
patterns are those of shells (`*`, `?`). Conditions and values are SQL of our own modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

HOST = "site.build-usb.invalid"
"""Stands in a baseline for the name that the site answers to."""
MAIL = f"mailbox@{HOST}"
"""Stands for every e-mail address of the database; becomes the administrator's."""
TITLE = "__BUILD_USB_TITLE__"
"""Stands for the site's title, where an application says that it is one."""
PREFIX = "baseline_"
"""Begins the name of every table of a baseline."""
MARKS = (".revision", ".whole-*", "*/.whole-*", ".new-*", "*/.new-*", "*.log")
"""What releases leave among the files that PHP writes (machines/remote/release.py), and logs."""
_ASKED = re.compile(r"\{prefix\}(\w+)")


@dataclass(frozen=True)
class Rows:
    """Rows of a table (or of all that match a pattern), those that `where` says (empty: all);
    `values` are columns with the SQL that they become. Of an application with those tables only:
    what is not there, or asks a table (`{prefix}TABLE`) that is not, is passed over."""

    table: str
    where: str = ""
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cleaning:
    """How an application becomes a baseline.

    `rows` are patterns of the tables whose rows are taken, unless they match `emptied`: of all
    others, such as a plugin's that nobody here knows, the structure alone is. Then `deleted` rows
    go, and `changed` ones become other values; `{prefix}` in their SQL is the tables' prefix.
    `prefixed` are columns whose values begin with the tables' prefix. `left_out` are patterns of
    paths below the writable folders that are not taken (`*` matches `/` too). `version` is a
    command for the webserver's shell that prints the application's version. `program` is a file of
    the webserver with SQL of the application's own, that cleans the copy before all else; it may
    be missing. `engines` understand the SQL. `addressed` is a table with a column of names of files
    that say what is in them: no file but those of its rows is taken, and none is changed.
    """

    rows: tuple[str, ...]
    version: str
    emptied: tuple[str, ...] = ()
    deleted: tuple[Rows, ...] = ()
    changed: tuple[Rows, ...] = ()
    prefixed: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    program: str = ""
    engines: tuple[str, ...] = ("mariadb", "mysql")
    addressed: tuple[str, str] | None = None

    def takes_rows(self, table: str, more: Iterable[str] = ()) -> bool:
        """Say whether the rows of a table (without prefix) are taken; `more`: patterns of those
        that were asked for."""
        if _matches(table, more):
            return True
        return _matches(table, self.rows) and not _matches(table, self.emptied)

    def leaves_out(self, path: str, more: Iterable[str] = ()) -> bool:
        """Say whether a path below a writable folder is not taken; `more`: further patterns."""
        return _matches(path, (*self.left_out, *more))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def statements(
    cleaning: Cleaning, tables: Sequence[str], prefix: str, more: Iterable[str] = ()
) -> list[str]:
    """Return the SQL that makes a copy of a database (its `tables`, by their whole names) one that
    may be shared; what is not the application's is dropped."""
    more = tuple(more)
    own = {name.removeprefix(prefix): name for name in tables if name.startswith(prefix)}
    made = ["SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'", "SET foreign_key_checks = 0"]
    made += [f"DROP TABLE {quoted(name)}" for name in tables if name not in own.values()]
    made += [
        f"TRUNCATE TABLE {quoted(name)}"
        for bare, name in own.items()
        if not cleaning.takes_rows(bare, more)
    ]

    def sql(text: str) -> str:
        return text.replace("{prefix}", prefix)

    def there(all_rows: Iterable[Rows]) -> Iterator[tuple[str, Rows]]:
        for rows in all_rows:
            asked = _ASKED.findall(f"{rows.where} {rows.values}")
            if own.keys() >= set(asked):
                yield from ((own[bare], rows) for bare in own if fnmatchcase(bare, rows.table))

    for name, rows in there(cleaning.deleted):
        made.append(f"DELETE FROM {quoted(name)} WHERE {sql(rows.where) or '1'}")  # noqa: S608
    for name, rows in there(cleaning.changed):
        new = ", ".join(f"{quoted(column)} = {sql(value)}" for column, value in rows.values)
        made.append(f"UPDATE {quoted(name)} SET {new} WHERE {sql(rows.where) or '1'}")  # noqa: S608
    return made


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return f"`{name.replace('`', '``')}`"

"""The SQL of baselines: CREATE TABLE and INSERT of rows, nothing else, read by a strict grammar.

What comes from elsewhere is hostile. It is never passed on: what could be read is written anew, so
that a server sees no byte that this module did not write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from wizard.baselines.cleaning import quoted

_TOKEN = re.compile(
    r"""\s+
    |(?P<name>`(?:[^`\0]|``){1,64}`)
    |(?P<text>'[^'\\]*(?:(?:\\.|'')[^'\\]*)*')
    |(?P<hex>0x[0-9A-Fa-f]*|[xX]'[0-9A-Fa-f]*')(?![0-9A-Za-z_])
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![0-9A-Za-z_])
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>[(),;=])""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = frozenset(
    """
    TINYINT SMALLINT MEDIUMINT INT INTEGER BIGINT DECIMAL NUMERIC FLOAT DOUBLE REAL BIT BOOLEAN
    DATE DATETIME TIMESTAMP TIME YEAR CHAR VARCHAR BINARY VARBINARY TINYBLOB BLOB MEDIUMBLOB
    LONGBLOB TINYTEXT TEXT MEDIUMTEXT LONGTEXT JSON ENUM SET UUID INET4 INET6 UNSIGNED ZEROFILL
    NOT NULL DEFAULT AUTO_INCREMENT COMMENT CHARACTER CHARSET COLLATE ON UPDATE DELETE CASCADE
    RESTRICT NO ACTION CURRENT_TIMESTAMP JSON_VALID CHECK PRIMARY UNIQUE FULLTEXT SPATIAL KEY INDEX
    CONSTRAINT FOREIGN REFERENCES USING BTREE HASH ENGINE INNODB MYISAM ARIA MEMORY ROW_FORMAT
    DYNAMIC COMPACT COMPRESSED REDUNDANT FIXED KEY_BLOCK_SIZE PAGE_CHECKSUM PACK_KEYS
    TRANSACTIONAL CHECKSUM STATS_PERSISTENT ASC DESC
    """.split()  # noqa: SIM905 - read as words
)
"""All words that a table's definition may hold; those that reach files, other tables or code are
none of them (DIRECTORY, SELECT, LIKE, PARTITION, UNION, CONNECTION, TRIGGER, ...)."""
_CHARSET = re.compile(r"(?:utf8|utf8mb3|utf8mb4|ascii|latin1|binary|uca1400)(?:_[a-z0-9_]+)?", re.I)
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%",
            "_": "\\_"}  # fmt: skip
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNSAFE = str.maketrans(
    {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\x1a": "\\Z"}
)


class SqlError(ValueError):
    """A statement that a baseline must not hold; says the line and what is wrong with it."""


class Raw(str):
    """A number, or bytes as `0x...`: written as it was read."""

    __slots__ = ()


Value = str | Raw | None


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Table:
    """A table's structure; `definition` are tokens (kind, text), names of other tables among them
    with the kind `table`. Names of tables are without prefix."""

    table: str
    definition: tuple[tuple[str, str], ...]

    def written(self, prefix: str) -> str:
        """Return the statement that makes it, for a prefix: one line a column."""
        out = f"CREATE TABLE {quoted(prefix + self.table)} "
        depth = 0
        for kind, text in self.definition:
            if (kind, text) == ("mark", "("):
                depth += 1
                out += "(\n  " if depth == 1 else "("
            elif (kind, text) == ("mark", ")"):
                depth -= 1
                out += ")" if depth else "\n)"
            elif (kind, text) == ("mark", ","):
                out += ",\n  " if depth == 1 else ","
            else:
                shown = quoted(prefix + text) if kind == "table" else text
                out += shown if out.endswith((" ", "(", ",")) else f" {shown}"
        return f"{out};\n"


@dataclass(frozen=True)
class Row:
    """A row of a table (named without prefix)."""

    table: str
    columns: tuple[str, ...]
    values: tuple[Value, ...]

    def written(self, prefix: str) -> str:
        """Return the statement that adds it, for a prefix, on one line."""
        columns = ",".join(map(quoted, self.columns))
        values = ",".join(map(_literal, self.values))
        return f"INSERT INTO {quoted(prefix + self.table)} ({columns}) VALUES ({values});\n"  # noqa: S608

    def renamed(self, prefixed: Collection[tuple[str, str]], old: str, new: str) -> Row:
        """Return the row with `new` in place of `old` where values of (table, column) begin so."""
        values = tuple(
            new + value.removeprefix(old)
            if isinstance(value, str) and (self.table, column) in prefixed and value.startswith(old)
            else value
            for column, value in zip(self.columns, self.values, strict=True)
        )
        return replace(self, values=values)

    def mapped(self, change: Callable[[str], str]) -> Row:
        """Return the row with its texts changed."""
        new = tuple(
            change(value) if isinstance(value, str) and not isinstance(value, Raw) else value
            for value in self.values
        )
        return replace(self, values=new)


Statement = Table | Row


def _text(value: str) -> Value:
    """Return what a binary value says, if it is a text: names in it are changed, secrets found."""
    digits = value[1:].strip("x'")
    try:
        said = bytes.fromhex(digits).decode()
    except ValueError:
        return Raw(value)
    return Raw(value) if _CONTROLS.search(said) else said


def _literal(value: Value) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, Raw) else f"'{value.translate(_UNSAFE)}'"


def read(text: str, prefix: str) -> Iterator[Statement]:
    """Yield the statements of a text, all of whose tables begin with `prefix`. SqlError."""
    reader = _Reader(text, prefix)
    while not reader.ended():
        word = reader.word()
        if word == "CREATE":
            yield reader.table()
        elif word == "INSERT":
            yield reader.row()
        else:
            raise reader.error(f"{word} is not what a baseline may do")


class _Reader:
    def __init__(self, text: str, prefix: str) -> None:
        self.text, self.prefix, self.at = text, prefix, 0
        self.last = 0

    def ended(self) -> bool:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at >= len(self.text)

    def error(self, why: str) -> SqlError:
        line = self.text.count("\n", 0, self.last) + 1
        return SqlError(f"line {line}: {why}")

    def token(self) -> _Token:
        while True:
            self.last = self.at
            found = _TOKEN.match(self.text, self.at)
            if found is None:
                shown = "the end" if self.at >= len(self.text) else ascii(self.text[self.at])
                raise self.error(f"{shown} is not expected here")
            self.at = found.end()
            if found.lastgroup:
                return _Token(found.lastgroup, found[0], found.start())

    def expect(self, kind: str, text: str = "") -> str:
        token = self.token()
        same = token.text.upper() == text if kind == "word" else token.text == text
        if token.kind != kind or (text and not same):
            raise self.error(f"{token.text[:40]!r} in place of {text or f'a {kind}'}")
        return token.text

    def word(self) -> str:
        return self.expect("word").upper()

    def name(self) -> str:
        return self.expect("name")[1:-1].replace("``", "`")

    def own_table(self) -> str:
        name = self.name()
        if not name.startswith(self.prefix) or not re.fullmatch(r"[A-Za-z0-9_$]+", name):
            raise self.error(f"the table {name!r} is not one of the application")
        return name.removeprefix(self.prefix)

    def table(self) -> Table:
        self.expect("word", "TABLE")
        table = self.own_table()
        tokens: list[tuple[str, str]] = []
        depth = 0
        before = ("", "")
        while True:
            token = self.token()
            kind, text = token.kind, token.text
            if kind == "mark":
                if text == ";":
                    break
                depth += {"(": 1, ")": -1}.get(text, 0)
                if depth < 0 or (depth == 0 and text == ","):
                    raise self.error(f"{text!r} is not expected here")
            elif kind == "word":
                self._allowed(text, before)
            elif kind == "name" and before[1].upper() == "REFERENCES":
                self.at = token.at
                kind, text = "table", self.own_table()
            elif kind == "text":
                text = _literal(_unescaped(text[1:-1]))
            elif kind == "hex" and before[1].upper() != "DEFAULT":
                raise self.error("bytes that are no default")
            if not tokens and text != "(":
                raise self.error("a definition begins with columns")
            before = (kind, text)
            tokens.append(before)
        if depth or len(tokens) < 3:
            raise self.error(f"the definition of {table} does not end")
        return Table(table, tuple(_unnumbered(tokens)))

    def _allowed(self, word: str, before: tuple[str, str]) -> None:
        upper = word.upper()
        if before[1] == "=" or before[1].upper() in ("COLLATE", "SET", "CHARSET"):
            if upper in _WORDS or _CHARSET.fullmatch(word):
                return
        elif upper in _WORDS:
            return
        raise self.error(f"{word} is not what a table's definition may hold")

    def row(self) -> Row:
        self.expect("word", "INTO")
        table = self.own_table()
        self.expect("mark", "(")
        columns = [self.name()]
        while self.expect("mark") == ",":
            columns.append(self.name())
        self.expect("word", "VALUES")
        self.expect("mark", "(")
        values = [self._value()]
        while (mark := self.expect("mark")) == ",":
            values.append(self._value())
        if mark != ")" or len(columns) != len(values):
            raise self.error(
                f"a row of {table} has {len(values)} values for {len(columns)} columns"
            )
        self.expect("mark", ";")
        return Row(table, tuple(columns), tuple(values))

    def _value(self) -> Value:
        token = self.token()
        if token.kind == "text":
            return _unescaped(token.text[1:-1])
        if token.kind == "hex":
            return _text(token.text)
        if token.kind == "number":
            return Raw(token.text)
        if token.kind == "word" and token.text.upper() == "NULL":
            return None
        raise self.error(f"{token.text[:40]!r} is not a value")


def _unescaped(text: str) -> str:
    if "\\" not in text and "''" not in text:
        return text
    return re.sub(
        r"\\(.)|''",
        lambda m: "'" if m[1] is None else _ESCAPES.get(m[1], m[1]),
        text,
        flags=re.DOTALL,
    )


def _unnumbered(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the tokens without `AUTO_INCREMENT=n`: how many rows there once were is nobody's."""
    skip = 0
    for index, token in enumerate(tokens):
        if skip:
            skip -= 1
        elif token[1].upper() == "AUTO_INCREMENT" and tokens[index + 1 : index + 2] == [
            ("mark", "=")
        ]:
            skip = 2
        else:
            yield token

"""Replaces words in texts, and in the texts inside of PHP's serialised values, whose lengths stay
true, packed in base64 or not. In bytes, as PHP counts them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable

from wizard.baselines.cleaning import HOST, MAIL, TITLE
from wizard.baselines.kinds import RESERVED

Change = Callable[[bytes], bytes]
_DEEPEST = 200
_ADDRESS = re.compile(
    rb"[A-Za-z0-9._%+-]{1,64}(?:@|%40)(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9@-])"
)
_PACKED = re.compile(rb"(?:Tzo|Qzo|YTo|czo)[A-Za-z0-9+/]+={0,2}")
"""A serialised value as base64 (O:, C:, a:, s:)."""
_BEGINS = re.compile(rb"[aOC]:\d+:|s:\d+:\"")
_SCALAR = re.compile(rb"(?:N|b:[01]|i:-?\d+|d:[-+0-9.eEINFAN]+|[rR]:\d+|E:\d+:\"[\w:\\]+\");?")


def to_placeholders(hosts: Iterable[str]) -> Change:
    """Return what puts the placeholder in the place of a site's names."""
    names = "|".join(re.escape(name) for name in sorted(set(hosts), key=len, reverse=True))
    # neither inside of a longer name nor in a mail address; JSON and URLs escape what is before
    form = re.compile(
        rb"(?:(?<![A-Za-z0-9@._-])|(?<=%2[Ff])|(?<=\\[nrt])|(?<=u002[Ff]))(?:"
        + names.encode()
        + rb")(?![A-Za-z0-9_-]|\.[A-Za-z0-9])",
        re.IGNORECASE,
    )
    return lambda text: form.sub(HOST.encode(), text)


def without_addresses(text: bytes) -> bytes:
    """Return the text with the placeholder in the place of each e-mail address."""
    if b"@" not in text and b"%40" not in text:
        return text

    def other(found: re.Match[bytes]) -> bytes:
        domain = b"@" + re.split(rb"@|%40", found[0])[-1]
        return found[0] if RESERVED.search(domain) else MAIL.encode()

    return _ADDRESS.sub(other, text)


def from_placeholders(host: str, mail: str, title: str | None = None) -> Change:
    """Return what puts a site's own values in the place of the placeholders; `title` None: not in
    this text."""
    pairs = [(MAIL, mail), (HOST, host), *([(TITLE, title)] if title is not None else [])]
    words = [(old.encode(), new.encode()) for old, new in pairs]

    def change(text: bytes) -> bytes:
        for old, new in words:
            text = text.replace(old, new)
        return text

    return change


def changed(text: str, change: Change) -> str:
    """Return a value of the database with `change` made to each text that it holds."""
    data = text.encode()
    if _PACKED.fullmatch(data) and len(data) % 4 == 0:
        # by the same code: what only looks like one is text, and is packed as it was
        inner = base64.b64decode(data)
        new = _deep(inner, change, 0)
        return text if new == inner else base64.b64encode(new).decode()
    if change(data) == data:
        return text
    return _deep(data, change, 0).decode()


def _deep(data: bytes, change: Change, depth: int) -> bytes:
    if _BEGINS.match(data):
        body = data.rstrip()
        try:
            new, end = _value(body, 0, change, depth)
            if end == len(body):
                return new + data[len(body) :]
        except (ValueError, IndexError):
            pass  # only looks like one
    return change(data)


def _value(data: bytes, at: int, change: Change, depth: int) -> tuple[bytes, int]:
    """Return the value that begins at `at`, changed, and where it ends. ValueError: it is none."""
    if depth > _DEEPEST:
        raise ValueError("too deep")
    kind = data[at : at + 1]
    if kind == b"s":
        inner, at = _string(data, at + 1)
        _expect(data, at, b";")
        new = _deep(inner, change, depth + 1)
        return b's:%d:"%s";' % (len(new), new), at + 1
    if kind in (b"a", b"O"):
        begin = at
        if kind == b"O":
            _, at = _string(data, at + 1)
        else:
            at += 1
        count, at = _number(data, at)
        _expect(data, at, b"{")
        at += 1
        parts = [data[begin:at]]
        for _ in range(2 * count):
            part, at = _value(data, at, change, depth + 1)
            parts.append(part)
        _expect(data, at, b"}")
        return b"".join([*parts, b"}"]), at + 1
    if kind == b"C":
        begin = at
        _, at = _string(data, at + 1)
        head = data[begin:at]
        length, at = _number(data, at)
        _expect(data, at, b"{")
        inner = data[at + 1 : at + 1 + length]
        _expect(data, at + 1 + length, b"}")
        new = change(inner)
        return head + b":%d:{%s}" % (len(new), new), at + length + 2
    found = _SCALAR.match(data, at)
    if found is None or not found[0].endswith(b";"):
        raise ValueError("not a value")
    return found[0], found.end()


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the string whose length stands at `at` (`:5:"…"`), and where it ends."""
    length, at = _number(data, at)
    _expect(data, at, b'"')
    end = at + 1 + length
    _expect(data, end, b'"')
    return data[at + 1 : end], end + 1


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return the number of `:5:` at `at`, and where it ends."""
    _expect(data, at, b":")
    end = data.index(b":", at + 1)
    digits = data[at + 1 : end]
    if not digits.isdigit() or len(digits) > 12:
        raise ValueError("not a number")
    return int(digits), end + 1


def _expect(data: bytes, at: int, what: bytes) -> None:
    if data[at : at + 1] != what:
        raise ValueError(f"no {what!r} at {at}")

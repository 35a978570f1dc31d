"""Signatures of boot programs, checked against the certificate that the shim carries."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.image.internal_disks import run


def sections(program: Path) -> dict[str, bytes]:
    """Return the sections of an EFI program."""
    data = program.read_bytes()
    (head,) = struct.unpack_from("<I", data, 0x3C)
    assert data[head : head + 4] == b"PE\0\0"
    count, _, symbols, number, optional = struct.unpack_from("<HIIIH", data, head + 6)
    strings = symbols + 18 * number
    found = {}
    for place in range(head + 24 + optional, head + 24 + optional + 40 * count, 40):
        name = data[place : place + 8].rstrip(b"\0").decode()
        if name.startswith("/"):
            start = strings + int(name[1:])
            name = data[start : data.index(b"\0", start)].decode()
        size, _, raw, offset = struct.unpack_from("<IIII", data, place + 8)
        found[name] = data[offset : offset + min(size, raw)]
    return found


def authority(shim: Path, folder: Path) -> Path:
    """Return the certificate that a shim lets programs be signed under, as a PEM file."""
    table = sections(shim)[".vendor_cert"]
    size, _, offset, _ = struct.unpack_from("<IIII", table)
    der, pem = folder / "authority.der", folder / "authority.pem"
    der.write_bytes(table[offset : offset + size])
    run("openssl", "x509", "-inform", "der", "-in", der, "-out", pem)
    return pem

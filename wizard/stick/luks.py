"""LUKS2: one keyslot for the passphrase (argon2id), one for the recovery key (PBKDF2).

Keys go to cryptsetup by standard input or by files in memory, never as arguments. A recovery key
is 150 random bits: slowing down guesses adds nothing, and it opens on machines of little memory.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wizard.errors import HomeError, PassphraseError
from wizard.secrets import Secret, memory_file
from wizard.stick import commands

MAGIC = b"LUKS\xba\xbe"
_SECOND_MAGIC = b"SKUL\xba\xbe"
# where the second header may begin: sizes of a header with its JSON area (LUKS2 specification)
_SECOND_AT = tuple(2**n for n in range(14, 23))
_NO_KEY, _NO_MEMORY = 2, 3  # exit codes of cryptsetup(8)
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # 32 characters without look-alikes: 5 bits each
_GROUPS, _GROUP = 6, 5


@dataclass(frozen=True)
class Cost:
    """What guessing a passphrase costs: argon2id's memory in KiB, and passes over it.

    512 MiB: a laptop of 2 GB opens what one of 32 GB made. Fixed passes, not a time: measuring
    would give a fast computer's volume to a slow one.
    """

    memory: int = 512 * 1024
    passes: int = 4
    threads: int = 4


class Header(StrEnum):
    """What is at the beginning of a partition."""

    NONE = "none"
    WHOLE = "whole"
    DAMAGED = "damaged"


def header(device: Path) -> Header:
    """Say whether there is a LUKS header, and whether cryptsetup can use it."""
    with device.open("rb") as file:
        first = file.read(len(MAGIC))
        others = []
        for offset in _SECOND_AT:
            file.seek(offset)
            others.append(file.read(len(MAGIC)))
    if first != MAGIC and _SECOND_MAGIC not in others:
        return Header.NONE
    # also repairs a header of which one of the two copies is whole, if it may write
    whole = commands.attempt("cryptsetup", "luksDump", device).returncode == 0
    return Header.WHOLE if whole else Header.DAMAGED


def generate_recovery_key() -> Secret:
    """Return a new recovery key, six groups of five characters."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return Secret("-".join(groups))


def typed_recovery_key(text: Secret) -> Secret:
    """Return a recovery key as it was made from what a person typed. Raises PassphraseError."""
    letters = re.sub(r"[\s-]", "", text.reveal()).upper()
    if len(letters) != _GROUP * _GROUPS or set(letters) - set(ALPHABET):
        raise PassphraseError(
            "this is not a recovery key",
            why=f"it has {_GROUPS} groups of {_GROUP} letters and digits, none of them O, I, 0, 1",
            cure="type it as it was shown when the volume was made; case and hyphens are free",
        )
    groups = (letters[n : n + _GROUP] for n in range(0, len(letters), _GROUP))
    return Secret("-".join(groups))


def format_device(device: Path, passphrase: Secret, cost: Cost) -> None:
    """Make an encrypted volume that the passphrase opens; all that was there is gone."""
    commands.run(
        *("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", *_slow(cost)),
        *("--cipher", "aes-xts-plain64", "--key-size", "512", "--key-file", "-"),
        device,
        given=passphrase.reveal().encode(),
        doing="make the encrypted volume",
    )


def add_recovery_key(device: Path, passphrase: Secret, key: Secret) -> None:
    """Let the recovery key open the volume too; others of its kind are taken away after it."""
    before = _slots(device, "pbkdf2")
    _add(device, passphrase, key, ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"))
    _check(device, key)
    _remove(device, before, key)


def replace_passphrase(device: Path, opener: Secret, new: Secret, cost: Cost) -> None:
    """Let `new` open the volume instead of all passphrases before; `opener` is any valid key.

    Killed at any moment, the former passphrase, the new one, or both open it.
    """
    before = _slots(device, "argon2id")
    _add(device, opener, new, _slow(cost))
    _check(device, new)
    _remove(device, before, new)


def opens(device: Path, key: Secret) -> bool:
    """Say whether a key opens the volume, without opening it. HomeError when it cannot be said."""
    ended = commands.attempt(
        *("cryptsetup", "open", "--test-passphrase", "--type", "luks2", "--key-file", "-", device),
        given=key.reveal().encode(),
    )
    if ended.returncode not in (0, _NO_KEY):
        raise _failed(device, ended.returncode, commands.said(ended))
    return ended.returncode == 0


def check(device: Path, key: Secret) -> None:
    """Raise PassphraseError if the key does not open the volume."""
    if not opens(device, key):
        raise _wrong(device)


def open_device(device: Path, key: Secret, name: str) -> None:
    """Show the volume's contents as /dev/mapper/`name`.

    Raises PassphraseError for a wrong key, HomeError for everything else.
    """
    ended = commands.attempt(
        *("cryptsetup", "open", "--type", "luks2", "--key-file", "-", device, name),
        given=key.reveal().encode(),
    )
    if ended.returncode == _NO_KEY:
        raise _wrong(device)
    if ended.returncode:
        raise _failed(device, ended.returncode, commands.said(ended))


def close_device(name: str) -> None:
    """Hide the contents again; a volume that is not open is no error. Raises HomeError."""
    if Path("/dev/mapper", name).exists():
        commands.run(
            *("cryptsetup", "close", name),
            doing="close the encrypted volume",
            cure="end what still uses it (a deployment under way, a shell in it), then try again",
        )


def _wrong(device: Path) -> PassphraseError:
    return PassphraseError(
        "wrong passphrase",
        where=str(device),
        cure="try again, minding upper and lower case and the keyboard layout; the recovery "
        "key opens it too",
    )


def _failed(device: Path, code: int, why: str) -> HomeError:
    if code == _NO_MEMORY:
        return HomeError(
            "not enough memory to open the encrypted volume",
            where=str(device),
            why="checking a passphrase takes 512 MiB, so that guessing many is expensive",
            cure="use a computer with 2 GB or more, or the recovery key, which needs less",
        )
    return HomeError(
        "the encrypted volume cannot be opened",
        where=str(device),
        why=why or f"cryptsetup ended with {code}",
        cure="the passphrase is not the reason; restart and try again, then restore a backup",
    )


def _slow(cost: Cost) -> tuple[str, ...]:
    return (
        *("--pbkdf", "argon2id", "--pbkdf-memory", str(cost.memory)),
        *("--pbkdf-force-iterations", str(cost.passes), "--pbkdf-parallel", str(cost.threads)),
    )


def _slots(device: Path, kind: str) -> list[int]:
    printed = commands.run(
        *("cryptsetup", "luksDump", "--dump-json-metadata", device),
        doing="read the keyslots of the encrypted volume",
    )
    slots = json.loads(printed)["keyslots"]
    return sorted(int(n) for n, values in slots.items() if values["kdf"]["type"] == kind)


def _add(device: Path, opener: Secret, new: Secret, kdf: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(memory_file(secret)) for secret in (opener, new)]
        numbers = [file.fileno() for file in files]
        old_path, new_path = (f"/proc/self/fd/{number}" for number in numbers)
        commands.run(
            *("cryptsetup", "luksAddKey", "--batch-mode", *kdf),
            *("--key-file", old_path, device, new_path),
            descriptors=numbers,
            doing="add a key to the encrypted volume",
        )


def _check(device: Path, key: Secret) -> None:
    if not opens(device, key):
        raise HomeError(
            "a key that was just added does not open the volume",
            where=str(device),
            cure="the stick does not keep what is written to it: use another one",
        )


def _remove(device: Path, slots: list[int], remaining: Secret) -> None:
    for slot in slots:
        commands.run(
            *("cryptsetup", "luksKillSlot", "--batch-mode", "--key-file", "-"),
            *(device, str(slot)),
            given=remaining.reveal().encode(),
            doing="take a former key away",
        )

"""Where the build home's passphrase comes from: a file, the environment, or the terminal.

Must not import: anything of the build home's layout.
"""

from __future__ import annotations

import getpass
import os
import stat
from collections.abc import Callable, MutableMapping
from pathlib import Path

from wizard.errors import PassphraseError
from wizard.secrets import Secret

VARIABLE = "BUILD_USB_PASSPHRASE"
MINIMUM_LENGTH = 12
_MINIMUM_DISTINCT = 6
_LARGEST_FILE = 4096  # bytes

Ask = Callable[[str], str]


def obtain(
    file: Path | None = None,
    environ: MutableMapping[str, str] | None = None,
    *,
    new: bool = False,
    credential: bool = False,
    ask: Ask | None = None,
) -> Secret:
    """Return the passphrase from `file`, else from BUILD_USB_PASSPHRASE, else asked for.

    The variable is removed from `environ` (default: the process's) in any case, so that no child
    inherits it. `new`: a passphrase being chosen; it is asked for twice and must not be weak.
    `credential`: the file is one of systemd's, whose access list for one user looks like a right
    of its group. Raises PassphraseError.
    """
    given = (os.environ if environ is None else environ).pop(VARIABLE, None)
    if file is not None:
        passphrase = _from_file(file, others=0o007 if credential else 0o077)
    elif given is not None:
        passphrase = Secret(given)
    else:
        passphrase = _from_terminal(ask or _ask_on_terminal, new=new)
    if not passphrase:
        raise PassphraseError(
            "the passphrase is empty",
            where=str(file) if file else VARIABLE if given is not None else "",
            cure="give the passphrase of the build home",
        )
    if new:
        refuse_weak(passphrase)
    return passphrase


def refuse_weak(passphrase: Secret) -> None:
    """Raise PassphraseError if the passphrase would not resist guessing."""
    text = passphrase.reveal()
    if len(text) >= MINIMUM_LENGTH and len(set(text.lower())) >= _MINIMUM_DISTINCT:
        return
    raise PassphraseError(
        f"the passphrase is too weak: it needs at least {MINIMUM_LENGTH} characters, "
        f"{_MINIMUM_DISTINCT} of them different",
        why="an encrypted copy of the deployment's keys is kept in its bucket: whoever gets that "
        "copy can try passphrases for as long as they like",
        cure="four or five unrelated words are strong and easy to type",
    )


def _from_file(path: Path, others: int) -> Secret:
    try:
        # checked on the open file: the path could be exchanged between a check and the reading
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(_LARGEST_FILE + 1) if stat.S_ISREG(status.st_mode) else None
    except OSError as error:
        raise PassphraseError(
            "cannot read the passphrase file",
            where=str(path),
            why=error.strerror or str(error),
            cure="name a file with the passphrase on its first line",
        ) from error
    if data is None:
        raise PassphraseError("the passphrase file is not a plain file", where=str(path))
    if status.st_mode & others:
        raise PassphraseError(
            "other users can read the passphrase file",
            where=str(path),
            why=f"its mode is {stat.S_IMODE(status.st_mode):04o}",
            cure=f"chmod 600 {path}",
        )
    if status.st_uid not in (os.getuid(), 0):
        raise PassphraseError(
            "the passphrase file belongs to another user",
            where=str(path),
            cure=f"chown {os.getuid()} {path}",
        )
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise PassphraseError("the passphrase file is not UTF-8", where=str(path)) from error
    if len(data) > _LARGEST_FILE or len(lines) > 1:
        raise PassphraseError(
            "the passphrase file holds more than one line",
            where=str(path),
            cure="write the passphrase on its first line and nothing else",
        )
    return Secret(lines[0] if lines else "")


def _from_terminal(ask: Ask, *, new: bool) -> Secret:
    if not new:
        return Secret(ask("Passphrase of the build home: "))
    first = Secret(ask("Choose a passphrase for the build home: "))
    refuse_weak(first)
    if first != Secret(ask("The same passphrase again: ")):
        raise PassphraseError("the two passphrases differ", cure="run the command again")
    return first


def _ask_on_terminal(prompt: str) -> str:
    missing = PassphraseError(
        "the passphrase is needed and there is no terminal to ask on",
        cure=f"give --passphrase-file FILE, or set {VARIABLE}",
    )
    # getpass would fall back to standard input, echoing: refuse instead
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise missing from None
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise missing from None

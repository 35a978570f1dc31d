"""A passphrase that a computer's TPM has sealed: a file beside the answers, opened only there.

`systemd-creds encrypt --with-key=tpm2 --tpm2-pcrs= --name=buildusb.passphrase - passphrase.cred`
makes it, as root of any Linux on that computer.
"""

from __future__ import annotations

from pathlib import Path

from wizard.errors import PassphraseError
from wizard.secrets import Secret
from wizard.stick import commands

NAME = "buildusb.passphrase"
"""What systemd calls the credential, sealed or not."""
FILE = "passphrase.cred"


def unseal(folder: Path) -> Secret:
    """Return the passphrase in the file of `folder`; as root. Raises PassphraseError, HomeError."""
    path = folder / FILE
    ended = commands.attempt("systemd-creds", "decrypt", f"--name={NAME}", path, "-")
    if ended.returncode:
        raise PassphraseError(
            "the sealed passphrase cannot be opened on this computer",
            where=str(path),
            why=commands.said(ended) or "it was sealed by another computer's TPM",
            cure=f"seal it anew on this computer (docs/headless.md), or take {FILE} away and put "
            "the passphrase on a second stick",
        )
    return Secret(ended.stdout.decode(errors="replace").rstrip("\r\n"))

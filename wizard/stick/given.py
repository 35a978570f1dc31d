"""What is given to a run without a keyboard: the passphrase, and the secrets that answers name.

The passphrase comes from a systemd credential, from a file that the computer's TPM has sealed, from
a second stick labelled BUILD-KEYS, from BUILD_USB_PASSPHRASE, or is typed. It opens the build home
and `secrets.age`. Secrets are a YAML mapping, name -> value: `secrets.age` beside the answers or
`secrets.yaml` on the second stick. They are in memory only until the build home takes them,
encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

import pyrage  # type: ignore[import-untyped]
import yaml
from pydantic import BaseModel

from wizard.answers.model import Answers
from wizard.answers.sections import CredentialSource
from wizard.errors import HomeError, PassphraseError, UsageError
from wizard.home import passphrase as passphrases
from wizard.home import vault
from wizard.home.files import read_bytes
from wizard.secrets import Secret
from wizard.stick import sealed

AGE_FILE, PLAIN_FILE, PASSPHRASE_FILE = "secrets.age", "secrets.yaml", "passphrase"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")  # as the answers allow
_MOST = 1 << 20  # bytes; a file of secrets has hundreds
_CURE = "write one `name: value` a line, values in quotes; see docs/headless.md"


@dataclass(frozen=True)
class Given:
    """The passphrase and the secrets by name."""

    passphrase: Secret
    secrets: dict[str, Secret] = field(default_factory=dict)

    def all(self) -> list[Secret]:
        """Return everything that must not be seen."""
        return [self.passphrase, *self.secrets.values()]


def passphrase(
    keys: Path,
    environ: MutableMapping[str, str],
    *,
    new: bool,
    unseal: Callable[[], Secret] | None = None,
    ask: passphrases.Ask | None = None,
) -> Secret:
    """Return the passphrase from the first place that has one; typed at the console if none has.

    `new`: it is being chosen, so that a typed one is asked for twice. `unseal` returns the one that
    a TPM has sealed, where there is such a file. Raises PassphraseError, HomeError.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / sealed.NAME if folder else None
    if credential and credential.is_file():
        return passphrases.obtain(credential, environ, new=new, credential=True)
    if unseal is not None:
        return unseal()
    if (place := keys / PASSPHRASE_FILE).is_file():
        return passphrases.obtain(place, environ, new=new)
    return passphrases.obtain(None, environ, new=new, ask=ask)


def secrets(answers: Path, keys: Path, passphrase: Secret) -> dict[str, Secret]:
    """Return the secrets beside the answers and on the second stick. Raises HomeError,
    PassphraseError, or UsageError when one name has two values."""
    found: dict[str, Secret] = {}
    for path in (answers / AGE_FILE, keys / AGE_FILE, keys / PLAIN_FILE):
        data = read_bytes(path)
        if data is None:
            continue
        text = _open(data, passphrase, path) if path.name == AGE_FILE else data
        for name, secret in _mapping(text, path).items():
            if found.setdefault(name, secret) != secret:
                raise UsageError(
                    f"the secret {name} is given twice, with different values",
                    where=str(path),
                    cure="take one of them away",
                )
    return found


def _open(data: bytes, passphrase: Secret, path: Path) -> bytes:
    try:
        return vault.open_by_passphrase(data, passphrase)
    except pyrage.DecryptError as error:
        if vault.is_too_slow(error):
            raise PassphraseError(
                "this computer is too slow to open the file of secrets",
                where=str(path),
                why="it was locked on one that is many times faster",
                cure=f"lock it again on a slow one, or put {PLAIN_FILE} on a stick BUILD-KEYS",
            ) from error
        raise PassphraseError(
            "the file of secrets cannot be opened",
            where=str(path),
            why=f"the passphrase is wrong, or the file is damaged: {error}",
            cure="it has the same passphrase as the build home; make it anew: age -p",
        ) from error


def _mapping(data: bytes, path: Path) -> dict[str, Secret]:
    # errors must not quote what they are about
    if len(data) > _MOST:
        raise HomeError("this is not a file of secrets: too long", where=str(path), cure=_CURE)
    try:
        content = yaml.safe_load(data.decode())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else "not UTF-8 text"
        raise HomeError(
            "the file of secrets is not YAML", where=str(path), why=line, cure=_CURE
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise HomeError("the file of secrets is not a mapping", where=str(path), cure=_CURE)
    wrong = [
        f"{name[:64]!r}: {_fault(name, value)}"
        for name, value in content.items()
        if _fault(name, value)
    ]
    if wrong:
        raise HomeError(
            "the file of secrets has mistakes", where=str(path), why="\n".join(wrong), cure=_CURE
        )
    return {name: Secret(value) for name, value in content.items()}


def _fault(name: str, value: object) -> str:
    if not _NAME.fullmatch(name):
        return "no name of a secret"
    if not isinstance(value, str):
        return "the value is not text: put it in quotes"
    return "" if value else "the value is empty"


def sources(section: BaseModel, key: str = "") -> Iterator[tuple[str, CredentialSource]]:
    """Yield every place of the answers that names where a secret comes from, with its key."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        path = f"{key}.{name}" if key else name
        items = value if isinstance(value, tuple | list) else (value,)
        for item in items:
            if isinstance(item, CredentialSource):
                yield path, item
            elif isinstance(item, BaseModel):
                yield from sources(item, path)


def refuse_missing(answers: Answers, known: set[str], environ: Mapping[str, str]) -> None:
    """Raise UsageError that names every secret of the answers that is nowhere."""
    missing = []
    for key, source in sources(answers):
        if source.home and source.home not in known:
            missing.append(f"{key}: no secret called {source.home} was given")
        elif source.environment and not environ.get(source.environment):
            missing.append(f"{key}: the environment variable {source.environment} is not set")
        elif source.file and not Path(source.file).expanduser().is_file():
            missing.append(f"{key}: there is no file {source.file}")
    if missing:
        raise UsageError(
            "not all secrets that the answers name are here",
            why="\n".join(missing),
            cure=f"put them into {AGE_FILE} beside the answers, under the names that {{home: …}} "
            "has; see docs/headless.md",
        )

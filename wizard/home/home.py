"""The build home's folders, and what may be in them.

<home>/                      0700
  home.json                  the layout's version
  identity.age               the home's key, encrypted by the passphrase
  recovery.age               the same, encrypted by the stick's recovery key; on a stick only
  recipient.txt              its public half: what secrets are encrypted to
  secrets.age                what `{home: name}` in answers names: tokens the user put there
  deployments/<name>/
    answers.yaml  state.json  journal.jsonl  events.jsonl  known_hosts  ssh_config
    secrets.age              passwords, keys, tokens, encrypted
    lock  secrets.lock       held by running processes
    logs/
  promotions/<name>/         of the development deployment <name>
    promotion.json  events.jsonl  lock
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from wizard.errors import HomeError, PassphraseError
from wizard.home.files import (
    explained,
    make_folder,
    read_bytes,
    read_json,
    remove_leftovers,
    write_atomic,
    write_json,
)
from wizard.home.journal import Journal
from wizard.home.lock import locked
from wizard.home.store import SecretStore
from wizard.home.vault import (
    Vault,
    fingerprint,
    generate_age_identity,
    lock_identity,
    unlock_identity,
)
from wizard.secrets import Secret

VARIABLE = "BUILD_USB_HOME"
RECOVERY = "recovery.age"
_LAYOUT = 1
_NAME = re.compile(r"[a-z][a-z0-9-]{0,22}[a-z0-9]")
# what ssh would read as syntax in its configuration, however it is quoted
_UNUSABLE = re.compile(r'["\\]|\$\{|[\x00-\x1f\x7f]')


class DeploymentHome:
    """One deployment's folder. Naming it touches nothing; it is made when something is written."""

    def __init__(self, home: Home, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise HomeError(
                f"{name!r} cannot be a deployment's name",
                why="2 to 24 lower-case letters, digits and hyphens, the first a letter, the "
                "last no hyphen",
                cure=f"known here: {', '.join(home.deployments()) or 'none yet'}",
            )
        self.home = home
        self.name = name
        self.folder = home.path / "deployments" / name
        self.answers_file = self.folder / "answers.yaml"
        self.state_file = self.folder / "state.json"
        self.journal_file = self.folder / "journal.jsonl"
        self.events_file = self.folder / "events.jsonl"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "ssh_config"
        self.secrets_file = self.folder / "secrets.age"
        self.logs = self.folder / "logs"
        self.promotion = home.path / "promotions" / name
        self.promotion_file = self.promotion / "promotion.json"

    def __repr__(self) -> str:
        return f"DeploymentHome({str(self.folder)!r})"

    def exists(self) -> bool:
        """Say whether the deployment is known here: whether its answers were written."""
        return self.answers_file.is_file()

    def create(self) -> None:
        """Make the folders where they are missing. Raises HomeError."""
        make_folder(self.folder)
        make_folder(self.logs)

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Keep other runs off the deployment; `purpose` is what they are told.

        Raises LockedError at once if another process is at work. Makes the folder if missing.
        """
        self.create()
        with locked(self.folder / "lock", purpose):
            self.create()  # a run that ended just now may have deleted the folder
            remove_leftovers(self.folder)
            yield

    def vault(self, vault: Vault) -> SecretStore:
        """Return the deployment's secrets, opened by the home's vault."""
        return SecretStore(self.secrets_file, vault)

    def open_journal(self) -> Journal:
        """Return the journal. Raises HomeError when it is damaged."""
        return Journal.open(self.journal_file)

    def delete(self) -> None:
        """Forget the deployment: take its folder away, under its lock. Raises HomeError."""
        # renamed first: killed halfway, no half deployment is left under the name
        gone = self.folder.with_name(f".{self.name}.{secrets.token_hex(6)}.deleted")
        with explained(self.folder, "delete"):
            self.folder.rename(gone)
            shutil.rmtree(gone)


class Home:
    """The build home at `path`, checked to be ours alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @staticmethod
    def locate(option: str | None = None, environ: Mapping[str, str] | None = None) -> Path:
        """Return where the home is: `--home`, else BUILD_USB_HOME, else the XDG data folder."""
        environ = os.environ if environ is None else environ
        if given := option or environ.get(VARIABLE):
            return Path(given).expanduser().absolute()
        data = environ.get("XDG_DATA_HOME", "")
        # the XDG specification: a relative path is invalid and to be ignored
        if data.startswith("/"):
            return Path(data) / "build-usb"
        if not environ.get("HOME"):
            raise HomeError(
                "nowhere to put the build home: HOME is not set",
                cure=f"name a folder with --home or {VARIABLE}",
            )
        return Path(environ["HOME"]).absolute() / ".local" / "share" / "build-usb"

    @classmethod
    def open(cls, path: Path | None = None) -> Home:
        """Return the home at `path` (default: `locate`), made if it is not there.

        Raises HomeError if it cannot be used, or others could read or exchange it.
        """
        path = (path or cls.locate()).absolute()
        _refuse_unusable(path)
        with explained(path, "make the build home in"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_reachable(path)
        make_folder(path)
        _refuse_shared(path)
        home = cls(path)
        home._check_layout()
        make_folder(path / "deployments")
        return home

    def _check_layout(self) -> None:
        marker = self.path / "home.json"
        layout = read_json(marker)
        if layout is None:
            with explained(self.path, "read"):
                others = {p.name for p in self.path.iterdir() if not p.name.endswith(".tmp")}
            if others - {"lost+found"}:
                raise HomeError(
                    "this folder is not a build home and not empty",
                    where=str(self.path),
                    cure="name an empty folder, or one that does not exist yet",
                )
            write_json(marker, {"version": _LAYOUT})
        elif not isinstance(layout, dict) or layout.get("version") != _LAYOUT:
            raise HomeError(
                "this build home was made by another version of Build USB",
                where=str(marker),
                why=f"this version knows layout {_LAYOUT}",
                cure="use the version that made it, or a newer one",
            )
        remove_leftovers(self.path)

    def vault(self, vault: Vault) -> SecretStore:
        """Return the user's own secrets, which all deployments of the home may name."""
        return SecretStore(self.path / "secrets.age", vault)

    # -- identity --------------------------------------------------------------------------------

    @cached_property
    def _identity(self) -> Path:
        return self.path / "identity.age"

    def has_identity(self) -> bool:
        """Say whether a passphrase was chosen for this home."""
        return self._read_recipient() is not None

    def create_identity(self, passphrase: Secret) -> Vault:
        """Make the home's key and lock it with the passphrase. HomeError if there is one."""
        if self.has_identity():
            raise HomeError(
                "this build home has an identity already",
                where=str(self._identity),
                cure="unlock it with its passphrase",
            )
        identity = generate_age_identity()
        vault = Vault(identity)
        self.install_identity(lock_identity(identity, passphrase), vault.recipient)
        return vault

    def install_identity(self, locked_identity: bytes, recipient: str) -> None:
        """Keep an identity that is locked already. HomeError if there is one."""
        with locked(self.path / "lock", "create the identity"):
            if self.has_identity():
                raise HomeError("this build home has an identity", where=str(self._identity))
            self._write_identity(locked_identity, recipient)

    def _write_identity(self, locked_identity: bytes, recipient: str) -> None:
        write_atomic(self._identity, locked_identity)
        # last: its presence says that the identity is complete
        text = f"# identity.age has SHA-256 {fingerprint(locked_identity)}\n{recipient}\n"
        write_atomic(self.path / "recipient.txt", text.encode())

    def replace_passphrase(self, vault: Vault, passphrase: Secret) -> None:
        """Lock the home's key with another passphrase; killed halfway, one of the two opens it."""
        with locked(self.path / "lock", "change the passphrase"):
            self._write_identity(vault.locked_by(passphrase), vault.recipient)

    def keep_recovery(self, vault: Vault, recovery: Secret, *, beside: bool = False) -> None:
        """Let the stick's recovery key open the home's key, too; in a file of its own.

        `beside` the ones that are kept already: the key of a copy that is about to be made.
        """
        path = self.path / (f"recovery-{secrets.token_hex(4)}.age" if beside else RECOVERY)
        write_atomic(path, vault.locked_by(recovery))
        for other in [] if beside else self.path.glob("recovery-*.age"):
            other.unlink()

    def recover(self, recovery: Secret, passphrase: Secret) -> Vault:
        """Open the home's key by the recovery key and lock it with a new passphrase.

        Raises PassphraseError when the key is wrong, HomeError when it was never kept.
        """
        error = HomeError(
            "this build home knows no recovery key",
            where=str(self.path),
            cure="open it with its passphrase, or take each deployment over from its bucket: "
            "build-usb adopt",
        )
        for path in sorted(self.path.glob("recovery*.age")):
            data = read_bytes(path) or b""
            try:
                vault = unlock_identity(data, recovery, fingerprint(data), path)
            except PassphraseError as wrong:
                error = wrong
                continue
            if vault.recipient != self.recipient():
                raise HomeError("the recovery key is another build home's", where=str(self.path))
            self.replace_passphrase(vault, passphrase)
            return vault
        raise error

    def unlock(self, passphrase: Secret) -> Vault:
        """Open the home's key (1 to 2 seconds, on purpose).

        Raises PassphraseError when the passphrase is wrong, HomeError when the key is damaged.
        """
        known = self._read_recipient()
        data = read_bytes(self._identity)
        if known is None:
            raise PassphraseError(
                "this build home has no passphrase yet",
                where=str(self.path),
                cure="it is chosen by the first build-usb deploy",
            )
        checksum, recipient = known
        vault = unlock_identity(data or b"", passphrase, checksum, self._identity)
        if vault.recipient != recipient:
            raise HomeError(
                "identity.age and recipient.txt do not belong together",
                where=str(self.path),
                cure="restore both from a copy of this build home",
            )
        if data is not None and fingerprint(data) != checksum:
            self._write_identity(data, recipient)  # a change of the passphrase was killed
        return vault

    def locked_identity(self) -> bytes:
        """Return the identity as on disk, encrypted by the passphrase. HomeError if none."""
        data = read_bytes(self._identity)
        if data is None:
            raise HomeError("missing", where=str(self._identity), cure="restore it from a copy")
        return data

    def recipient(self) -> str:
        """Return what secrets are encrypted to (`age1…`). HomeError if there is no identity."""
        known = self._read_recipient()
        if known is None:
            raise HomeError("this build home has no identity yet", where=str(self.path))
        return known[1]

    def _read_recipient(self) -> tuple[str, str] | None:
        path = self.path / "recipient.txt"
        data = read_bytes(path)
        if data is None:
            return None
        found = re.fullmatch(
            rb"# identity\.age has SHA-256 ([0-9a-f]{64})\n(age1[a-z0-9]+)\n", data
        )
        if not found:
            raise HomeError("damaged", where=str(path), cure="restore it from a copy")
        return found[1].decode(), found[2].decode()

    # -- deployments -----------------------------------------------------------------------------

    def promotions(self) -> list[str]:
        """Return the names of the development deployments on their way to production, sorted."""
        found = (self.path / "promotions").glob("*/promotion.json")
        return sorted(path.parent.name for path in found if _NAME.fullmatch(path.parent.name))

    def deployment(self, name: str) -> DeploymentHome:
        """Return the deployment's folder, which need not exist. HomeError if `name` is none."""
        return DeploymentHome(self, name)

    def deployments(self) -> list[str]:
        """Return the names of the deployments known here, sorted."""
        with explained(self.path, "read"):
            return sorted(
                path.parent.name
                for path in (self.path / "deployments").glob("*/answers.yaml")
                if _NAME.fullmatch(path.parent.name)
            )


# -- what a home must not be ---------------------------------------------------------------------


def _refuse_unusable(path: Path) -> None:
    if _UNUSABLE.search(str(path)):
        raise HomeError(
            "the build home's path holds a quote, a backslash, ${ or a control character",
            where=ascii(str(path)),
            why="ssh could not be told of its known_hosts file",
            cure="name another folder with --home",
        )


def _refuse_reachable(path: Path) -> None:
    """Refuse a home that other users could exchange for one of theirs."""
    for link in (path, path.parent):
        if link.is_symlink():
            raise HomeError(
                "the build home or the folder it is in is a symbolic link",
                where=str(link),
                why="where it points to could change between two runs",
                cure=f"name the real folder: {path.resolve()}",
            )
    for folder in path.resolve().parents:
        with explained(folder, "examine"):
            mode = folder.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise HomeError(
                "every user can exchange the build home for another",
                where=str(folder),
                why=f"the folder's mode is {stat.S_IMODE(mode):04o}",
                cure=f"chmod o-w {folder}, or name another home with --home",
            )


def _refuse_shared(path: Path) -> None:
    with explained(path, "examine"):
        status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise HomeError("the build home is not a folder", where=str(path))
    if status.st_uid != os.geteuid():
        raise HomeError(
            "the build home belongs to another user",
            where=str(path),
            why=f"its owner has the number {status.st_uid}, this program runs as {os.geteuid()}",
            cure="run as its owner, or name another home with --home",
        )
    if status.st_mode & 0o077:
        raise HomeError(
            "other users can look into the build home",
            where=str(path),
            why=f"its mode is {stat.S_IMODE(status.st_mode):04o}",
            cure=f"chmod 700 {path}",
        )

"""The git repository of a baseline: committed and signed by the build home's own key, pushed, and
what comes from elsewhere verified before anything of it is looked at."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from wizard.baselines import tree
from wizard.baselines.manifest import MANIFEST, Manifest, ManifestError, parse
from wizard.baselines.scan import Finding, scan, scan_data
from wizard.baselines.tree import Entry, Refused
from wizard.engine import baseline_make as make
from wizard.engine.git import Git, credential_helper, scratch
from wizard.errors import AnswersError, UsageError
from wizard.home import keys
from wizard.home.files import write_atomic
from wizard.home.keys import KeyPair
from wizard.home.store import SecretStore
from wizard.secrets import Secret

KEY = "baseline-key"
"""Under which name the build home keeps the key that signs its baselines."""
BRANCH = "main"
_WHO = "baseline"
Known = Sequence[tuple[str, Secret]]


def own_key(credentials: SecretStore) -> KeyPair:
    """Return the key that signs this home's baselines, made first if there is none."""
    return keys.key_pair(credentials, KEY)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a baseline's folder. UsageError: it is none."""
    try:
        return parse((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise UsageError(
            f"there is no baseline in {folder}",
            why=error.strerror or str(error),
            cure="make one of a deployment: build-usb baseline create NAME",
        ) from error
    except ManifestError as error:
        raise UsageError("the manifest cannot be used", where=str(folder / MANIFEST),
                         why=str(error)) from error  # fmt: skip


def commit(folder: Path, key: KeyPair, known: Known, check: Callable[[Path], None]) -> str:
    """Commit and sign what is in the folder, if that was not done, and return the commit.

    AnswersError names file and line of all that must not be published, in the folder or in what was
    committed before; `check` raises Refused for what could not be deployed."""
    manifest = read_manifest(folder)
    _refuse(scan(folder, known), folder)
    make.seal(folder, manifest)
    try:
        check(folder)
    except Refused as refused:
        raise AnswersError(
            "this could not be deployed from",
            refused.problems,
            where=str(folder),
            cure="change the site and make the baseline anew, or change the folder",
        ) from refused
    git = _of(folder)
    if not (folder / ".git").is_dir():
        git("init", "--quiet", "--initial-branch", BRANCH, ".")
    # files are what they are: a plugin's .gitattributes must not change them
    write_atomic(folder / ".git" / "info" / "attributes", b"* -text -filter -ident -diff\n")
    git("add", "--all", "--force", ".")
    with _signing(key) as identity:
        words = _identity(manifest, identity)
        head = _head(git)
        changed = git("status", "--porcelain", "-uno").strip()
        if changed or not head or not _is_signed(git, key):
            text = f"{manifest.application} {manifest.application_version}, {manifest.created}"
            git(*words, "commit", "--quiet", "--allow-empty", "-S", "-m", text)
    _refuse(
        _history(git, known),
        folder,
        "it was committed before: begin a new history (move the folder's .git away), and replace "
        "the secret, for it was kept in clear",
    )
    return git("rev-parse", "HEAD").strip()


def push(folder: Path, remote: str, token: Secret | None) -> None:
    """Push the baseline's branch. UsageError with git's words if the remote refuses."""
    with credential_helper(token) as helper:
        git = replace(
            _of(folder),
            helper=helper,
            doing="the baseline cannot be pushed",
            where=remote,
            cure="the remote keeps what it has; give it an empty repository, or make the baseline "
            "in a clone of it (--into)",
        )
        if remote.startswith("/") and not Path(remote).exists():
            git("init", "--quiet", "--bare", "--initial-branch", BRANCH, remote)
        git("push", "--quiet", remote, f"HEAD:refs/heads/{BRANCH}")


def _of(folder: Path) -> Git:
    return Git(
        folder,
        local=True,
        doing="git cannot do it",
        where=str(folder),
        cure="look at the folder with git status",
    )


def _head(git: Git) -> str:
    try:
        return git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    except UsageError:
        return ""


def _is_signed(git: Git, key: KeyPair) -> bool:
    try:
        verify(git, "HEAD", [key.public])
    except UsageError:
        return False
    return True


def _identity(manifest: Manifest, key: str) -> tuple[str, ...]:
    options = {
        "user.name": manifest.author or _WHO,
        "user.email": f"{_WHO}@build-usb.invalid",
        "gpg.format": "ssh",
        "user.signingkey": key,
    }
    return tuple(word for name, value in options.items() for word in ("-c", f"{name}={value}"))


@contextmanager
def _signing(key: KeyPair) -> Iterator[str]:
    """Yield a path to the private key for programs that this one starts; it is in memory only."""
    memory = os.memfd_create("baseline-key", os.MFD_CLOEXEC)
    try:
        os.fchmod(memory, 0o600)
        os.write(memory, key.private.reveal().encode())
        yield f"/proc/{os.getpid()}/fd/{memory}"
    finally:
        os.close(memory)


def _refuse(found: Sequence[Finding], folder: Path, more: str = "") -> None:
    if found:
        raise AnswersError(
            f"{len(found)} places must not be published",
            [str(finding) for finding in found],
            where=str(folder),
            cure=more or "change them on the site and make the baseline anew, or in the folder",
        )


def _history(git: Git, known: Known) -> list[Finding]:
    """Return what must not be published in all that is reachable but not in the newest commit."""
    now = set(git("ls-tree", "-r", "--format=%(objectname)", "HEAD").split())
    listed = git("rev-list", "--objects", "HEAD").splitlines()
    older = [line.split(" ", 1) for line in listed if " " in line]
    gone = [(sha, path) for sha, path in older if sha not in now and path]

    def contents() -> Iterable[tuple[str, bytes]]:
        for sha, path in gone:
            if git("cat-file", "-t", sha).strip() == "blob":
                yield f"{path} (of {sha[:12]})", git.raw("cat-file", "blob", sha)

    messages = [("the commits' messages", git.raw("log", "--format=%B"))]
    return [*scan_data(contents(), known), *scan_data(messages, known)]


# -- from elsewhere ------------------------------------------------------------------------------


def verify(git: Git, commit: str, signers: Sequence[str]) -> None:
    """Raise UsageError unless one of the keys (`ssh-ed25519 AAAA…`) has signed the commit."""
    # git reads them from a file; the repository's folder is ours alone
    place = Path(git("rev-parse", "--absolute-git-dir").strip()) / "build-usb-signers"
    lines = [f'* namespaces="git" {" ".join(key.split()[:2])}\n' for key in signers]
    write_atomic(place, "".join(lines).encode())
    strict = replace(
        git,
        doing="the baseline is not signed by one of those who may",
        cure="ask who shares it for the key (build-usb baseline key), compare it with "
        "application.source.signers; if it differs somebody else has made this baseline",
    )
    words = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={place}")
    strict(*words, "verify-commit", commit)


class Fetched:
    """A baseline of a repository, read as git has it: nothing is checked out."""

    def __init__(self, git: Git, commit: str) -> None:
        self.git, self.commit = git, commit
        self.objects: dict[str, str] = {}
        self.entries: list[Entry] = []
        listed = git.raw("ls-tree", "-r", "-z", "--long", commit)
        for line in listed.split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, sha, size = about.decode().split()
            name = path.decode(errors="surrogateescape")
            self.entries.append(Entry(name, mode, int(size) if size.isdigit() else 0))
            self.objects[name] = sha
        self._reader: subprocess.Popen[bytes] | None = None

    def read(self, path: str) -> bytes:
        """Return a file."""
        if self._reader is None:
            self._reader = subprocess.Popen(
                self.git.command("cat-file", "--batch"),
                cwd=self.git.folder,
                env=self.git.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._reader.stdin
        assert self._reader.stdout
        self._reader.stdin.write(f"{self.objects[path]}\n".encode())
        self._reader.stdin.flush()
        _, kind, size = self._reader.stdout.readline().decode().split()
        assert kind == "blob"
        data = self._reader.stdout.read(int(size))
        self._reader.stdout.read(1)
        return data

    def close(self) -> None:
        """End the program that reads."""
        if self._reader is not None:
            assert self._reader.stdin
            assert self._reader.stdout
            self._reader.stdin.close()
            self._reader.stdout.close()
            self._reader.wait()


@contextmanager
def fetched(
    repository: str, revision: str | None, token: Secret | None, signers: Sequence[str]
) -> Iterator[Fetched]:
    """Yield the baseline of a repository (https:// or a path here), signed by one of `signers`."""
    where = "application.source.repository"
    cure = "check repository, revision and credentials in the answers"
    with (
        credential_helper(token) as helper,
        scratch(helper, local=repository.startswith("/"), where=where, cure=cure) as git,
    ):
        git("fetch", "--quiet", "--depth=1", "--no-tags", repository, revision or "HEAD")
        commit = git("rev-parse", "FETCH_HEAD^{commit}").strip()
        verify(git, commit, signers)
        found = Fetched(git, commit)
        try:
            yield found
        finally:
            found.close()


def in_folder(folder: Path) -> tuple[list[Entry], Callable[[str], bytes]]:
    """Return what is in a baseline's folder as git will have it, and how its files are read."""
    entries = []
    for path in make.paths(folder):
        mode = tree.FILE if not path.is_symlink() and path.is_file() else "120000"
        size = path.lstat().st_size
        entries.append(Entry(str(path.relative_to(folder)), mode, size))
    return entries, lambda path: (folder / path).read_bytes()

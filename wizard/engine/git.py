"""git with nothing of this computer's configuration: no user's settings, helpers or keys."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wizard.errors import TransientError, UsageError
from wizard.home.files import write_atomic
from wizard.secrets import Secret

SECONDS = 600.0
_KEPT = ("PATH", "GIT_SSL_CAINFO", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


@dataclass(frozen=True)
class Git:
    """git in a folder. `helper` answers for credentials; `local`: repositories of this computer may
    be asked too, not only those behind HTTPS. `doing` and `where` are for errors."""

    folder: Path
    helper: str = ""
    local: bool = False
    doing: str = "the repository cannot be fetched"
    where: str = "application.source.url"
    cure: str = "check url, revision and credentials in the answers"

    def __call__(self, *words: str, stdin: bytes = b"") -> str:
        """Return what a git command prints. UsageError with git's own words if it fails."""
        return self.raw(*words, stdin=stdin).decode(errors="replace")

    def raw(self, *words: str, stdin: bytes = b"") -> bytes:
        """Return what a git command prints, as bytes."""
        try:
            done = subprocess.run(
                self.command(*words),
                cwd=self.folder,
                env=self.environment(),
                input=stdin,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise UsageError("git is not installed here", cure="apt install git") from error
        except subprocess.TimeoutExpired as error:
            raise TransientError(
                f"git {words[0]} did not end within {SECONDS:.0f} s", cure="run it again"
            ) from error
        if done.returncode:
            raise UsageError(
                self.doing,
                where=self.where,
                why=done.stderr.decode(errors="replace").strip()[-600:],
                cure=self.cure,
            )
        return done.stdout

    def command(self, *words: str) -> list[str]:
        """Return the whole command line."""
        options = ("-c", f"credential.helper={self.helper}", "-c", "protocol.allow=never",
                   "-c", "protocol.https.allow=always", "-c", "http.followRedirects=initial",
                   "-c", f"protocol.file.allow={'always' if self.local else 'never'}",
                   "-c", "fetch.fsckObjects=true", "-c", "core.hooksPath=/dev/null",
                   "-c", "safe.directory=*", "-c", "core.fileMode=false")  # fmt: skip
        return ["git", *options, *words]

    def environment(self) -> dict[str, str]:
        """Return what git sees of this computer."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ATTR_NOSYSTEM": "1",
        }
        return {**kept, **own}


@contextmanager
def credential_helper(token: Secret | None) -> Iterator[str]:
    """Yield what git is told to ask for a token (empty: there is none); the token itself is in a
    file of a private folder for as long."""
    if token is None:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="build-usb-git-") as folder:
        answer = Path(folder, "credential")
        # vendors take any name beside a token
        write_atomic(answer, f"username=token\npassword={token.reveal()}\n".encode())
        yield f"!cat {answer}; :"


@contextmanager
def scratch(
    helper: str = "", *, local: bool = False, where: str = "", cure: str = ""
) -> Iterator[Git]:
    """Yield git in an empty bare repository that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="build-usb-code-") as folder:
        told = {key: text for key, text in (("where", where), ("cure", cure)) if text}
        git = Git(Path(folder), helper, local, **told)
        git("init", "--quiet", "--bare", ".")
        yield git

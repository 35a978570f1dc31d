"""A deployment of the rehearsal as its user sees it: through the command line, in its own home."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.lab.laboratory import Laboratory
from wizard.engine.open import lab_folder
from wizard.engine.state import State
from wizard.engine.state import load as load_state
from wizard.home.home import Home
from wizard.operations import session
from wizard.paths import config_templates
from wizard.secrets import Secret

PASSPHRASE = "four unrelated words walk home"
REHEARSAL = config_templates() / "answers" / "rehearsal.yaml"
NAME = "demo"


def quick_home(path: Path) -> None:
    """Make the home that `deploy` would make, but quick to open; one that is there stays."""
    home = Home.open(path)
    if not home.has_identity():
        home.create_identity(Secret(PASSPHRASE))


@dataclass(frozen=True)
class Rehearsal:
    """One build home with at most one deployment, `demo`."""

    home: Path
    user: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return what the command sees: nothing of the tester's own."""
        kept = {k: os.environ[k] for k in ("PATH", "BUILD_USB_BASE_TREE") if k in os.environ}
        return {
            **kept,
            "HOME": str(self.user),
            "BUILD_USB_HOME": str(self.home),
            "BUILD_USB_PASSPHRASE": PASSPHRASE,
        }

    def argv(self, *words: str | Path) -> list[str]:
        """Return the command line of `build-usb`."""
        return [sys.executable, "-m", "wizard", *map(str, words)]

    def make_home(self) -> None:
        """Make the home before the first `deploy` would, so that it opens quickly."""
        quick_home(self.home)

    def run(
        self, *words: str | Path, check: bool = True, stdin: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `build-usb` to its end."""
        if words[0] == "deploy":
            self.make_home()
        done = subprocess.run(
            self.argv(*words),
            env={**self.environment, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"build-usb {' '.join(map(str, words))} ended with {done.returncode}\n"
                f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def deploy(self) -> list[dict[str, Any]]:
        """Deploy the rehearsal and return its events."""
        done = self.run("deploy", REHEARSAL, "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def laboratory(self) -> Laboratory:
        """Return the lab that the home's machines are in."""
        return Laboratory(lab_folder(self.home))

    def state(self) -> State:
        """Return what the home knows of the deployment."""
        state = load_state(self.home / "deployments" / NAME / "state.json")
        assert state is not None
        return state

    def on(self, machine: str, command: str, stdin: str = "", deployment: str = NAME) -> str:
        """Return what a shell command prints on a machine. Not through `build-usb ssh`: opening
        the home takes seconds of a processor each time, on purpose."""
        machines = {m.name: m.id for m in self.laboratory.provider.machines(deployment)}
        return self.laboratory.enter(machines[machine], "bash", "-c", command, stdin=stdin)

    def secrets(self) -> dict[str, Secret]:
        """Return every secret of the deployment by name."""
        home = Home.open(self.home)
        store = home.deployment(NAME).vault(home.unlock(Secret(PASSPHRASE)))
        found = {name: store.get(name) for name in store.names()}
        return {name: secret for name, secret in found.items() if secret is not None}

    def provider(self) -> Any:
        """Return the provider that the home's machines are rented from."""
        return session.engine_open.provider("local", Home.open(self.home))


class Browser:
    """A visitor of the site who trusts the rehearsal's authority and keeps cookies."""

    def __init__(self, state: State) -> None:
        self.url = state.url.rstrip("/")
        self.host = state.hosts[0]
        trust = ssl.create_default_context(cadata=state.authority_root)
        # the certificate is for the name; a rehearsal is visited by address
        trust.check_hostname = False
        self.client = httpx.Client(verify=trust, trust_env=False, timeout=30, base_url=self.url)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Return the answer to GET, redirects followed."""
        return self.client.get(path, follow_redirects=True, **options)

    def log_in(self, user: str, password: Secret) -> None:
        """Log in to WordPress as a person does, by the form."""
        self.get("/wp-login.php")  # sets the cookie that the form wants back
        answer = self.client.post(
            "/wp-login.php",
            data={"log": user, "pwd": password.reveal(), "testcookie": "1"},
        )
        assert answer.status_code == 302, answer.text[-2000:]
        assert any(name.startswith("wordpress_logged_in") for name in self.client.cookies)

    def publish(self, title: str, text: str) -> str:
        """Publish a post as the editor does; returns its link."""
        post = {"title": title, "content": text, "status": "publish"}
        return str(self._make("posts", json=post)["link"])

    def upload(self, film: bytes, name: str) -> str:
        """Upload a film as the editor does; returns its address."""
        headers = {
            "Content-Type": "video/mp4",
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        return str(self._make("media", headers, content=film)["source_url"])

    def _make(self, what: str, headers: dict[str, str] | None = None, **options: Any) -> Any:
        # REST with the session's nonce
        nonce = self.get("/wp-admin/admin-ajax.php?action=rest-nonce").text
        assert re.fullmatch(r"[0-9a-f]{10}", nonce), nonce[:200]
        answer = self.client.post(
            f"/index.php?rest_route=/wp/v2/{what}",
            headers={"X-WP-Nonce": nonce, **(headers or {})},
            **options,
        )
        assert answer.status_code == 201, answer.text[:2000]
        return answer.json()

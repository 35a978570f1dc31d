"""Asks a site as a visitor's browser would: over HTTPS, with the certificate checked."""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass

import httpx

from wizard.errors import TransientError

TIMEOUT = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 3.0


@dataclass(frozen=True)
class Answer:
    """What a site answered: HTTP status, seconds it took, the address asked."""

    status: int
    seconds: float
    address: str

    @property
    def healthy(self) -> bool:
        """Say whether a visitor gets a page."""
        return 200 <= self.status < 400


def ask(host: str, address: str, root: str, path: str = "/", seconds: float = TIMEOUT) -> Answer:
    """Ask `address` for `path` of https://`host` once, trusting `root` (PEM, or the certificate
    itself; empty: the system's roots).

    Raises httpx.HTTPError when there is no valid HTTPS answer at all.
    """
    # no use of environment or ~/.netrc: a proxy there must not decide whether our site lives
    trust = ssl.create_default_context(cadata=root or None)
    # `root` may be the site's certificate itself
    trust.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    with httpx.Client(verify=trust, trust_env=False, timeout=seconds) as client:
        started = time.monotonic()
        response = client.get(
            f"https://{address}{path}",
            headers={"Host": host},
            extensions={"sni_hostname": host},
        )
    return Answer(response.status_code, time.monotonic() - started, address)


def wait_for_site(
    host: str,
    address: str,
    root: str,
    deadline: float,
    stop: threading.Event,
    path: str = "/",
) -> Answer:
    """Return the first healthy answer; TransientError with the last trouble after `deadline` s."""
    ends = time.monotonic() + deadline
    pause = FIRST_PAUSE
    while True:
        try:
            answer = ask(host, address, root, path)
            if answer.healthy:
                return answer
            trouble = f"it answers with HTTP status {answer.status}"
        except httpx.HTTPError as error:
            trouble = str(error)
        if time.monotonic() + pause > ends or stop.wait(pause):
            raise TransientError(
                f"https://{host}{path} does not answer as it should",
                where=address,
                why=trouble,
                cure="look at the webserver's log: build-usb ssh web1 journalctl -u nginx -n 50",
            )
        pause = min(pause * 2, LONGEST_PAUSE)

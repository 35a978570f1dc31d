"""A site is examined as a careful visitor would: against a real server over TLS."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from wizard.engine.examine import Report, Visitor, examine
from wizard.machines.certificates import self_signed
from wizard.secrets import Secret

HOST = "127.0.0.1"
FORM = '<form action="/login"><input name="log"><input type="password" name="pwd"></form>'
PAGES = {
    "/": '<a href="/about">more</a> <a href="https://elsewhere.test/">away</a> <img src="/a.png">',
    "/about": '<link rel="stylesheet" href="/a.css">',
    "/a.png": "picture",
    "/a.css": "body{}",
}


class Site(BaseHTTPRequestHandler):
    """Serves PAGES and lets `editor` log in, in the way that WordPress does: one cookie twice."""

    pages = PAGES

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, text: str = "", *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", "text/html"), *headers):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        if self.path == "/login":
            self._answer(200, FORM)
        elif self.path == "/admin":
            known = "in=yes" in self.headers.get("Cookie", "")
            self._answer(200, "welcome" if known else FORM)
        elif self.path == "/to/circle":
            self._answer(302, "", ("Location", "/to/circle"))
        elif self.path.startswith("/to/"):
            self._answer(302, "", ("Location", self.path.removeprefix("/to/")))
        elif self.path in self.pages:
            self._answer(200, self.pages[self.path])
        else:
            self._answer(404)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form == {"log": ["editor"], "pwd": ["right"]}:
            cookies = [("Set-Cookie", f"in=yes; Path={path}") for path in ("/plugins", "/admin")]
            self._answer(302, "", ("Location", "/admin"), *cookies)
        else:
            self._answer(200, FORM)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its address with port, and the certificate to trust."""
    folder: Path = tmp_path_factory.mktemp("site")
    certificate, key = self_signed("site", (HOST,))
    (folder / "both.pem").write_text(certificate + key.reveal())
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(folder / "both.pem")
    with ThreadingHTTPServer((HOST, 0), Site) as server:
        server.socket = own.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{HOST}:{server.server_address[1]}", certificate
        server.shutdown()
        thread.join()


def look(served: tuple[str, str], password: str = "right", former: tuple[str, ...] = ()) -> Report:
    with Visitor(HOST, *served) as visitor:
        return examine(
            visitor, former=former, login="/login", user="editor", password=Secret(password)
        )


def test_a_site_that_is_well(served: tuple[str, str]) -> None:
    report = look(served)
    assert report.problems == []
    assert str(report) == "2 pages and 2 other files answer, logging in works"


def test_what_is_wrong_is_named(served: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {**PAGES, "/": PAGES["/"] + '<img src="/gone.png"> see www.old.test'}
    monkeypatch.setattr(Site, "pages", broken)
    report = look(served, "wrong", ("www.old.test",))
    assert report.problems == [
        f"https://{HOST}/ still names www.old.test",
        f"https://{HOST}/gone.png (on https://{HOST}/) answers 404",
        f"https://{HOST}/login: editor cannot log in",
    ]


def test_what_leads_away_is_named(served: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    leading = '<a href="/to//about">moved</a> <a href="/to/https://www.old.test/">old</a>'
    leading += '<img src="/to/https://www.old.test/a.png"> <a href="/to/circle">circle</a>'
    monkeypatch.setattr(Site, "pages", {**PAGES, "/": leading})
    assert look(served).problems == [
        f"https://{HOST}/to/https://www.old.test/ leads away, to https://www.old.test/",
        f"https://{HOST}/to/circle leads on without an end, to https://{HOST}/to/circle",
        f"https://{HOST}/to/https://www.old.test/a.png (on https://{HOST}/) leads away, to "
        "https://www.old.test/a.png",
    ]

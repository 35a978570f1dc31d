"""Examines a site as a careful visitor would: its front page and what that leads to, pictures and
all; logging in; and that nothing names the site it was made of."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

import httpx

from wizard.secrets import Secret

MOST_PAGES = 40
MOST_PARTS = 300
_REDIRECTS = 5
_TIMEOUT = 20.0
_PARTS = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}


@dataclass
class Report:
    """What was asked for, and what is wrong: a line each."""

    pages: int = 0
    parts: int = 0
    logged_in: bool = False
    machines: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Report, name: str) -> None:
        """Take another report into account: of the site on the machine called `name`."""
        self.pages += other.pages
        self.parts += other.parts
        self.logged_in = other.logged_in and (self.logged_in or not self.machines)
        self.problems += [f"{name}: {problem}" for problem in other.problems]
        self.machines += 1

    def __str__(self) -> str:
        login = ", logging in works" if self.logged_in else ""
        return f"{self.pages} pages and {self.parts} other files answer{login}"


class _Page(HTMLParser):
    """What a page leads to, and its forms that ask for a password."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.parts: list[str] = []
        self.forms: list[dict[str, object]] = []
        self._form: dict[str, object] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif (
            tag in _PARTS
            and given.get(_PARTS[tag])
            # of links, what a browser fetches by itself
            and (tag != "link" or {"stylesheet", "icon"} & set(given.get("rel", "").split()))
        ):
            self.parts.append(given[_PARTS[tag]])
        if tag == "form":
            self._form = {"action": given.get("action", ""), "fields": {}, "user": "", "secret": ""}
            self.forms.append(self._form)
        elif tag in ("input", "button") and self._form is not None and given.get("name"):
            self._input(given)

    def _input(self, given: dict[str, str]) -> None:
        assert self._form is not None
        fields = self._form["fields"]
        assert isinstance(fields, dict)
        kind = given.get("type", "text").lower()
        if kind == "password":
            self._form["secret"] = given["name"]
        elif kind in ("text", "email") and not self._form["user"]:
            self._form["user"] = given["name"]
        elif kind not in ("checkbox", "radio", "file", "image"):
            fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


class Visitor:
    """Asks `address` for a site called `host`, trusting `root` (PEM; empty: the system's roots)."""

    def __init__(self, host: str, address: str, root: str) -> None:
        self.host, self.address = host, address
        trust = ssl.create_default_context(cadata=root or None)
        trust.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        self._client = httpx.Client(verify=trust, trust_env=False, timeout=_TIMEOUT)
        self._cookies: dict[str, str] = {}

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, url: str, data: dict[str, str] | None = None) -> tuple[httpx.Response, str]:
        """Return the answer to a URL of the site, and the URL that it is of after redirects."""
        for _ in range(_REDIRECTS):
            parts = urlsplit(url)
            there = f"https://{self.address}{parts.path or '/'}"
            there += f"?{parts.query}" if parts.query else ""
            cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
            answer = self._client.request(
                "POST" if data is not None else "GET",
                there,
                data=data,
                headers={"Host": self.host, **({"Cookie": cookies} if cookies else {})},
                extensions={"sni_hostname": self.host},
            )
            # one name may come for several paths, with the same value
            for cookie in answer.cookies.jar:
                self._cookies[cookie.name] = cookie.value or ""
            if not answer.is_redirect:
                break
            url, data = urljoin(url, answer.headers["location"]), None
            if urlsplit(url).hostname != self.host:
                break
        return answer, url


def examine(
    visitor: Visitor,
    *,
    former: Sequence[str] = (),
    login: str = "",
    user: str = "",
    password: Secret | None = None,
) -> Report:
    """Return what is wrong with a site. `former`: names that must not occur any more; `login`: the
    path where the administrator logs in (empty: it is not tried)."""
    report = Report()
    names = "|".join(re.escape(name) for name in former)
    old = re.compile(rf"(?<![A-Za-z0-9.-])(?:{names})(?![A-Za-z0-9-])", re.I) if former else None
    front = f"https://{visitor.host}/"
    ahead, known = [front], {front}
    parts: dict[str, str] = {}
    while ahead and report.pages < MOST_PAGES:
        url = ahead.pop(0)
        answer = _good(visitor, url, report)
        if answer is None:
            continue
        report.pages += 1
        if "html" not in answer.headers.get("content-type", ""):
            continue
        if old and (found := old.search(answer.text)):
            report.problems.append(f"{url} still names {found[0]}")
        page = _Page(answer.text)
        for part in _own(visitor, url, page.parts):
            parts.setdefault(part, url)
        # the front page and all that it leads to, no further
        if url == front:
            for link in _own(visitor, url, page.links):
                if link not in known:
                    known.add(link)
                    ahead.append(link)
    for part, where in list(parts.items())[:MOST_PARTS]:
        if part not in known and _good(visitor, part, report, where) is not None:
            report.parts += 1
    if login and password is not None:
        _log_in(visitor, f"https://{visitor.host}{login}", user, password, report)
    return report


def _good(visitor: Visitor, url: str, report: Report, where: str = "") -> httpx.Response | None:
    named = f"{url} (on {where})" if where else url
    try:
        answer, there = visitor.ask(url)
    except httpx.HTTPError as error:
        report.problems.append(f"{named} does not answer: {error}")
        return None
    if answer.is_redirect:
        own = urlsplit(there).hostname == visitor.host
        report.problems.append(
            f"{named} leads {'on without an end' if own else 'away'}, to {there}"
        )
        return None
    if answer.status_code != 200:
        report.problems.append(f"{named} answers {answer.status_code}")
        return None
    return answer


def _own(visitor: Visitor, url: str, links: Iterable[str]) -> list[str]:
    """Return the links that are of the site, whole and once each."""
    found = []
    for link in links:
        try:
            whole = urldefrag(urljoin(url, link.strip()))[0]
            parts = urlsplit(whole)
        except ValueError:
            continue
        # who follows these changes something, or leaves
        leaves = re.search(r"logout|action=|replytocom=", parts.query)
        if parts.scheme == "https" and parts.hostname == visitor.host and not leaves:
            found.append(whole)
    return list(dict.fromkeys(found))


def _log_in(visitor: Visitor, url: str, user: str, password: Secret, report: Report) -> None:
    try:
        answer, there = visitor.ask(url)
        forms = [form for form in _Page(answer.text).forms if form["secret"] and form["user"]]
        if not forms:
            report.problems.append(f"{url} shows no form to log in with")
            return
        form = forms[0]
        fields = form["fields"]
        assert isinstance(fields, dict)
        filled = {**fields, str(form["user"]): user, str(form["secret"]): password.reveal()}
        answer, _ = visitor.ask(urljoin(there, str(form["action"])), filled)
    except httpx.HTTPError as error:
        report.problems.append(f"{url} does not answer: {error}")
        return
    again = any(form["secret"] and form["user"] for form in _Page(answer.text).forms)
    if answer.status_code >= 400 or again:
        report.problems.append(f"{url}: {user} cannot log in")
    else:
        report.logged_in = True

"""Projects' releases on several webservers: installed once, the same everywhere, changed with a
restore point, and what autoscalers build is what the others are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import drupal_release, joomla_release, moodle_release
from tests.lab.production import ANSWERS, Site, begun, deployed, shared, told
from tests.lab.test_production_postgresql import ask

pytestmark = pytest.mark.lab
_CRONTAB = "test -e /etc/cron.d/build-usb-application && echo yes; true"
_APPLIED = "ls /var/lib/build-usb/applied | grep -x install; true"
_MOUNTED = "for f in shared scratch; do findmnt -no FSTYPE -T /srv/site/$f; done"


class Answers:
    """The answers of a deployment, with one release after the other."""

    def __init__(self, folder: Path, kind: str, pack: Callable[[Path, int, bool], str]) -> None:
        self.folder, self.kind, self.pack = folder, kind, pack
        self.values: dict[str, Any] = yaml.safe_load(ANSWERS.read_text())
        self.values["application"]["kind"] = kind
        self.values["scaling"]["autoscalers"] = 1

    def beginning(self, number: int) -> dict[str, Any]:
        """Return the answers of a deployment that begins with a point of this release."""
        values: dict[str, Any] = yaml.safe_load(self.of(number).read_text())
        values["application"]["source"].pop("kind")
        return values

    def of(self, number: int, *, breaks: bool = False) -> Path:
        """Return the answers that name a release, packed once: again it has another checksum."""
        answers = self.folder / f"answers-{number}.yaml"
        if not answers.exists():
            archive = self.folder / f"{self.kind}-{number}-Full_Package.tar.gz"
            digest = self.pack(archive, number, breaks)
            release = {"file": str(archive), "sha256": digest}
            self.values["application"]["source"] = {"kind": "fresh", "release": release}
            answers.write_text(yaml.safe_dump(self.values))
        return answers


def log_in(site: Site, path: str, cookie: str, user: str, word: str) -> str:
    """Log in at the first webserver; return the session's cookie, as an option of curl."""
    password = site.rehearsal.secrets()["admin_password"].reveal()
    sent = f"-o /dev/null -c - -d {user}=editor -d {word}={password}"
    jar = ask(site, site.serving()[0], path, sent)
    return f"-b {cookie}={jar.split(cookie)[1].split()[0]}"


def add(site: Site, path: str, cookie: str, name: str) -> None:
    """Write something as an editor does, with a file, at the first webserver."""
    first = site.serving()[0]
    site.rehearsal.on(first, f"printf 'of {first}' > /tmp/{name}")
    sent = f"{cookie} -F title=Botany -F file=@/tmp/{name}"
    assert ask(site, first, path, sent) == "added"


def are_the_same(site: Site, names: list[str], pages: dict[str, str], cookie: str) -> None:
    """See that each of these webservers answers so, to who is logged in, and one runs cron."""
    assert site.serving() == names
    for name in names:
        assert {path: ask(site, name, path, cookie) for path in pages} == pages
    assert sorted(site.rehearsal.on(name, _CRONTAB) for name in names) == ["", "yes\n"]


def was_installed_once(site: Site, names: list[str]) -> None:
    """See that the first of these has installed, and that what people put in is in common."""
    found = [site.rehearsal.on(name, _APPLIED) for name in names]
    assert found == ["install\n", *("" for _ in names[1:])]
    for name in names:
        mounted = site.rehearsal.on(name, _MOUNTED).split()
        assert [kind == "fuse.s3fs" for kind in mounted] == [True, False]


def holds_no_password(site: Site, names: list[str]) -> None:
    password = site.rehearsal.secrets()["admin_password"].reveal()
    held = f"grep -rlF '{password}' /etc /srv /var/log; true"
    assert [site.rehearsal.on(name, held) for name in names] == ["" for _ in names]


def change(site: Site, answers: Path, names: list[str]) -> None:
    """Deploy another release: with one of them the database, then one after the other."""
    site.visitors.take()
    started = time.monotonic()
    done = site.rehearsal.run("deploy", answers, "--json")
    assert "is what was before" in done.stdout
    told("release changed", site.visitors.take(), deployed=time.monotonic() - started)
    texts = [event["text"] for event in site.fleet()["events"]]
    anew = [f"{name} is configured anew" for name in names]
    assert sorted(text for text in texts if text in anew) == anew


def test_drupal_is_changed_mended_and_kept_from_a_release_that_does_not_fit(tmp_path: Path) -> None:
    def pack(archive: Path, number: int, breaks: bool) -> str:
        contents = drupal_release.files(number, breaks=breaks)
        return moodle_release.pack(archive, contents, f"drupal-11.3.{number}")

    def pages(number: int) -> dict[str, str]:
        return {
            "/": f"My first site 11.3.{number}",
            "/node": "Botany",
            "/sites/default/files/a.txt": "of web1",
            "/system/files/a.txt": "of web1",
        }

    answers = Answers(tmp_path, "drupal", pack)
    with deployed(tmp_path, answers.of(1)) as site:
        site.visitors.page = b"My first site 11.3."
        both = ["web1", "web2"]
        was_installed_once(site, both)
        cookie = log_in(site, "/user/login", "SSESSdrupal", "name", "pass")
        add(site, "/node/add", cookie, "a.txt")
        are_the_same(site, both, pages(1), cookie)

        # a release that the database cannot be made to fit changes nobody, nor what is built later
        failed = site.rehearsal.run("deploy", answers.of(2, breaks=True), "--json", check=False)
        assert failed.returncode != 0
        assert "the upgrade failed at system_update_11202" in failed.stderr
        assert "was put back" in failed.stderr
        site.until("both serve", lambda: site.serving() == both, 60)
        are_the_same(site, both, pages(1), cookie)

        # one that is lost is built anew, by the autoscaler
        site.visitors.take()
        started = time.monotonic()
        site.destroy("web1")
        both = ["web2", "web3"]
        site.until("two serve", lambda: site.serving() == both, 240)
        tally = site.visitors.take()
        told("Drupal, webserver destroyed", tally, replaced=time.monotonic() - started)
        assert tally.failed == 0, tally.reasons[-5:]
        site.until("one runs cron", lambda: site.rehearsal.on("web2", _CRONTAB) != "", 60)
        are_the_same(site, both, pages(1), cookie)

        change(site, answers.of(3), both)
        are_the_same(site, both, pages(3), cookie)
        # and the same again changes nothing
        roll = site.fleet()["roll"]
        site.rehearsal.run("deploy", answers.of(3), "--json")
        assert site.fleet()["roll"] == roll
        log_in(site, "/user/login", "SSESSdrupal", "name", "pass")
        users = "SELECT count(*) FROM users_field_data WHERE uid > 0"
        assert site.rehearsal.on("db1", "mariadb -N drupal", users) == "1\n"
        assert site.rehearsal.run("status").returncode == 0
        holds_no_password(site, ["web2", "web3", "scaler1"])


def test_joomla_is_the_same_everywhere(tmp_path: Path) -> None:
    def pack(archive: Path, number: int, breaks: bool) -> str:
        return joomla_release.pack(archive, joomla_release.files(number, breaks=breaks))

    def pages(number: int) -> dict[str, str]:
        return {
            "/": f"My first site 6.0.{number}",
            "/blog": "Botany",
            "/images/a.bin": "of web1",
            "/administrator/index.php": "welcome editor",
        }

    answers = Answers(tmp_path, "joomla", pack)
    both = ["web1", "web2"]
    with deployed(tmp_path, answers.of(1)) as site:
        site.visitors.page = b"My first site 6.0."
        was_installed_once(site, both)
        administration = "/administrator/index.php"
        cookie = log_in(site, administration, "joomla", "username", "passwd")
        add(site, administration, cookie, "a.bin")
        are_the_same(site, both, pages(1), cookie)
        assert site.rehearsal.run("status").returncode == 0
        holds_no_password(site, [*both, "scaler1"])

        # another one begins with all of it, on all its webservers
        with begun(site, tmp_path, answers.beginning(1)) as copy:
            first = pages(1)["/"]
            copy.until_serving(first, both)
            for path in ("/", "/blog", "/images/a.bin"):
                assert [copy.ask(name, path) for name in both] == [pages(1)[path]] * 2
            site.until("copy is healthy", lambda: copy.status()["healthy"], 90)
            # what is uploaded there is not in the bucket of the first
            site.rehearsal.on("web2", "rm /srv/site/shared/images/a.bin", deployment="copy")
            site.until("it is gone", lambda: copy.ask("web1", "/images/a.bin") != "of web1", 30)
            assert ask(site, "web1", "/images/a.bin") == "of web1"

        # and one with a baseline of it, which holds nobody
        with shared(site, tmp_path, answers.beginning(1)) as copy:
            copy.until_serving(first, both)
            for path in ("/", "/blog", "/images/a.bin"):
                assert [copy.ask(name, path) for name in both] == [pages(1)[path]] * 2
            secret = site.rehearsal.run("secret", "admin_password", "--deployment", "copy")
            sent = f"-d username=editor -d passwd={secret.stdout.strip()}"
            assert copy.ask("web2", administration, sent) == "logged in"
            site.until("copy is healthy", lambda: copy.status()["healthy"], 90)

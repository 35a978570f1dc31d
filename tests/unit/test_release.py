"""A project's release on its way to the build machine: fetched over TLS, checked, looked at."""

from __future__ import annotations

import io
import ssl
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.lab import drupal_release, joomla_release, moodle_release
from wizard.answers.loader import loads
from wizard.answers.sections import Release
from wizard.answers.support import refuse_unsupported
from wizard.engine import release
from wizard.errors import AnswersError, UsageError
from wizard.machines.certificates import self_signed
from wizard.paths import config_templates
from wizard.plan import build

REHEARSAL = (config_templates() / "answers" / "rehearsal.yaml").read_text()
SHA = "0" * 64


def packed(folder: Path, contents: dict[str, str] | None = None) -> Release:
    """Return an imitation's release as a file."""
    path = folder / "moodle.tgz"
    digest = moodle_release.pack(path, contents or moodle_release.files(1))
    return Release(file=str(path), sha256=digest)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Serve a folder over TLS; /plain leads on to an address without it, /moved to /moodle.tgz."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = {"/moved": "/moodle.tgz", "/plain": "http://127.0.0.1:9/moodle.tgz"}
            found = folder / self.path[1:]
            if self.path in there:
                self.send_response(302)
                self.send_header("Location", there[self.path])
                self.end_headers()
            elif found.is_file():
                self.send_response(200)
                self.end_headers()
                self.wfile.write(found.read_bytes())
            else:
                self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    certificate, key = self_signed("files", ("127.0.0.1",))
    (tmp_path / "trust.pem").write_text(certificate)
    (tmp_path / "both.pem").write_text(certificate + key.reveal())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trust.pem"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "both.pem")
        served.socket = context.wrap_socket(served.socket, server_side=True)
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{served.server_port}", folder
        served.shutdown()
        thread.join()


def test_a_release_comes_over_tls_and_is_fetched_once(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    url, served = server
    source = Release(url=f"{url}/moved", sha256=packed(served).sha256)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "older.tar").write_bytes(b"")
    code = release.fetch("moodle", source, tmp_path / "code")
    settings = code.settings
    assert (settings.digest, settings.commit, settings.folder) == (
        source.sha256, "Moodle 5.0.1", "moodle",
    )  # fmt: skip
    assert [path.name for path in (tmp_path / "code").iterdir()] == [f"{source.sha256}.tar"]
    (served / "moodle.tgz").unlink()
    assert release.fetch("moodle", source, tmp_path / "code") == code
    # a kept archive that was changed is no longer the release
    code.archive.write_bytes(b"other")
    with pytest.raises(UsageError, match="answers 404"):
        release.fetch("moodle", source, tmp_path / "code")


@pytest.mark.parametrize(
    ("path", "said"), [("/plain", "leads on to http:"), ("/none", "answers 404")]
)
def test_what_cannot_be_fetched_says_why(
    server: tuple[str, Path], tmp_path: Path, path: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        release.fetch("moodle", Release(url=server[0] + path, sha256=SHA), tmp_path / "code")


def test_an_archive_has_a_limit(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "LARGEST_ARCHIVE", 1000)
    digest = packed(server[1]).sha256
    with pytest.raises(UsageError, match="larger than 1000 bytes"):
        release.fetch(
            "moodle", Release(url=f"{server[0]}/moodle.tgz", sha256=digest), tmp_path / "code"
        )
    assert list((tmp_path / "code").iterdir()) == []


def test_another_checksum_is_refused_and_named(tmp_path: Path) -> None:
    source = packed(tmp_path)
    with pytest.raises(AnswersError) as refused:
        release.fetch("moodle", source.model_copy(update={"sha256": SHA}), tmp_path / "code")
    assert source.sha256 in str(refused.value)
    assert list((tmp_path / "code").iterdir()) == []


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"index.php": "<?php"}, "it is no Moodle"),
        ({"version.php": "$branch = '405';\n$release = '4.5.6 (Build'"}, "it is Moodle 4.5.6"),
        ({"public/version.php": "$branch = '501';"}, "it is no Moodle"),
    ],
)
def test_only_releases_that_are_known_are_deployed(
    tmp_path: Path, contents: dict[str, str], said: str
) -> None:
    with pytest.raises(AnswersError) as refused:
        release.fetch("moodle", packed(tmp_path, contents), tmp_path / "code")
    assert said in str(refused.value)


def test_an_archive_with_links_out_or_without_one_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.tgz"
    with tarfile.open(path, "w:gz") as archive:
        text = b"$branch = '500';\n$release = '5.0.1 (Build'"
        for name in ("moodle/version.php", "beside"):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        link = tarfile.TarInfo("moodle/passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc/passwd"
        archive.addfile(link)
    source = Release(file=str(path), sha256=release._digest(path))
    with pytest.raises(AnswersError) as refused:
        release.fetch("moodle", source, tmp_path / "code")
    assert "moodle/passwd is a link that leads out of it" in str(refused.value)
    assert "one folder with everything in it" in str(refused.value)


def moodle(*lines: str) -> str:
    """Return a rehearsal's answers for Moodle, with further lines of the application."""
    text = REHEARSAL.replace("kind: wordpress", "kind: moodle")
    assert "kind: moodle" in text
    return text.replace("application:\n", "application:\n" + "".join(f"  {x}\n" for x in lines))


SOURCE = f"source: {{kind: fresh, release: {{url: 'https://moodle.test/m.tgz', sha256: {SHA}}}}}"


def test_answers_name_the_release() -> None:
    refuse_unsupported(loads(moodle(SOURCE), "a.yaml"))
    wrong = {
        moodle(): "null for the application 'moodle'",
        moodle(SOURCE.replace("url:", "file: /m.tgz, url:")): "exactly one of url and file",
        moodle(SOURCE).replace("kind: moodle", "kind: wordpress"): "release for the application 'w",
        moodle(SOURCE).replace("user: editor", "user: Editor"): "small letters for moodle",
    }
    for text, said in wrong.items():
        with pytest.raises(AnswersError) as refused:
            loads(text, "a.yaml")
        assert said in str(refused.value)


def test_a_backup_names_the_release_it_was_made_of() -> None:
    backup = SOURCE.replace("kind: fresh", "kind: backup, period: daily")
    drupal = moodle(backup).replace("kind: moodle", "kind: drupal")
    found = loads(drupal, "a.yaml")
    refuse_unsupported(found)
    assert found.application.code == found.application.source.release  # type: ignore[union-attr]
    said = "a backup that was made of another release is refused"
    untouched = f"{said}; texts in its database are not touched"
    assert untouched in build._about(found)
    for kind in ("moodle", "joomla"):
        other = loads(drupal.replace("kind: drupal", f"kind: {kind}"), "a.yaml")
        refuse_unsupported(other)
        assert said in build._about(other)
    wrong = {
        drupal.replace(f", release: {{url: 'https://moodle.test/m.tgz', sha256: {SHA}}}", ""): (
            "null for the application 'drupal'"
        ),
        drupal.replace("kind: drupal", "kind: wordpress"): "release for the application 'wordp",
    }
    for text, problem in wrong.items():
        with pytest.raises(AnswersError) as refused:
            loads(text, "a.yaml")
        assert problem in str(refused.value)


def test_each_project_packs_its_own_way(tmp_path: Path) -> None:
    drupal, joomla = tmp_path / "drupal.tar.gz", tmp_path / "joomla.tar.gz"
    ours = {
        "drupal": (drupal, moodle_release.pack(drupal, drupal_release.files(2), "drupal-11.3.2")),
        "joomla": (joomla, joomla_release.pack(joomla, joomla_release.files(1))),
    }
    found = {
        kind: release.fetch(kind, Release(file=str(path), sha256=digest), tmp_path / kind).settings
        for kind, (path, digest) in ours.items()
    }
    assert (found["drupal"].commit, found["drupal"].folder) == ("Drupal 11.3.2", "drupal-11.3.2")
    assert (found["joomla"].commit, found["joomla"].folder) == ("Joomla 6.0.1", "")
    for kind, other in (("drupal", "joomla"), ("joomla", "drupal"), ("moodle", "drupal")):
        path, digest = ours[other]
        with pytest.raises(AnswersError, match="it is no"):
            release.fetch(kind, Release(file=str(path), sha256=digest), tmp_path / "none")
    old = {"core/lib/Drupal.php": "<?php\nclass Drupal {\n  const VERSION = '10.6.1';\n}\n"}
    digest = moodle_release.pack(drupal, old, "drupal-10.6.1")
    with pytest.raises(AnswersError, match=r"it is Drupal 10.6.1; works in this version: 11.2"):
        release.fetch("drupal", Release(file=str(drupal), sha256=digest), tmp_path / "none")

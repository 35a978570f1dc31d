"""Own code, fetched on the build machine: from a real git server, and nothing of this computer."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulators.git_server import GitServer
from wizard.answers.loader import loads
from wizard.answers.sections import OwnRepository
from wizard.answers.support import refuse_unsupported
from wizard.engine import git, repository
from wizard.errors import AnswersError, UsageError
from wizard.paths import config_templates
from wizard.plan import build
from wizard.secrets import Secret

REHEARSAL = (config_templates() / "answers" / "rehearsal.yaml").read_text()

TOKEN = "token-of-the-repository-0815"
FILES = {"public/index.php": "<?php echo 1;", "env.example": "A=${SITE_URL}\n", "cron.php": "<?php"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    with GitServer(folder, TOKEN) as found:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(found.certificate))
        yield found


def source(server: GitServer, **more: object) -> OwnRepository:
    return OwnRepository.model_validate(
        {"kind": "repository", "url": f"{server.url}/site.git", **more}
    )


def test_a_revision_comes_as_an_archive_known_by_its_digest(
    server: GitServer, tmp_path: Path
) -> None:
    first = server.commit("site", FILES, "one")
    second = server.commit("site", {**FILES, "public/index.php": "<?php echo 2;"}, "two")
    wanted = source(server, docroot="public", environment_template="env.example", cron="* * * * *")
    code = repository.fetch(wanted, Secret(TOKEN), tmp_path / "code", "application.source")
    assert (code.settings.commit, code.settings.docroot) == (second, "public")
    assert code.template == "A=${SITE_URL}\n"
    with tarfile.open(code.archive) as archive:
        assert {m.name for m in archive.getmembers() if m.isfile()} == set(FILES)
    again = repository.fetch(wanted, Secret(TOKEN), tmp_path / "code", "application.source")
    assert again == code
    for revision in (first, "main"):
        older = repository.fetch(
            source(server, revision=revision), Secret(TOKEN), tmp_path / "c", "application.source"
        )
        assert older.settings.commit == (first if revision == first else second)
    assert len(list((tmp_path / "c").iterdir())) == 1, "older archives go"


def test_the_token_is_in_no_argument_and_no_environment(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.commit("site", FILES, "one")
    started: list[str] = []
    real = subprocess.run

    def run(argv: list[str], **more: object) -> object:
        started.append(repr((argv, more.get("env"))))
        return real(argv, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(git.subprocess, "run", run)
    repository.fetch(source(server), Secret(TOKEN), tmp_path / "code", "application.source")
    # those of the server's own are not git's
    ours = [text for text in started if "git-http-backend" not in text]
    assert len(ours) == 4
    assert not [text for text in ours if TOKEN in text or f"'{os.environ['HOME']}'" in text]


def test_without_the_right_token_it_is_refused_and_says_where(
    server: GitServer, tmp_path: Path
) -> None:
    server.commit("site", FILES, "one")
    for token in (None, Secret("wrong")):
        with pytest.raises(UsageError) as refused:
            repository.fetch(source(server), token, tmp_path / "code", "application.source")
        assert refused.value.where == "application.source.url"
        assert "wrong" not in str(refused.value)


def test_all_that_the_repository_lacks_is_said_at_once(server: GitServer, tmp_path: Path) -> None:
    links = {"in/a": "-> ../web", "in/b": "-> ../../x", "c": "-> /etc/passwd"}
    broken = {"index.html": "x", ".gitmodules": "", "web": "a file", **links}
    server.commit("site", broken, "one")
    wanted = source(server, docroot="public", environment_template="no.env", cron="* * * * *")
    with pytest.raises(AnswersError) as refused:
        repository.fetch(wanted, Secret(TOKEN), tmp_path / "code", "application.source")
    for word in ("submodules", "docroot", "cron.php", "environment_template", "in/b is", "c is"):
        assert word in str(refused.value)
    assert "in/a" not in str(refused.value)
    with pytest.raises(AnswersError, match="web is no folder"):
        repository.fetch(
            source(server, docroot="web"), Secret(TOKEN), tmp_path / "code", "application.source"
        )


def test_what_composer_is_run_for_is_another_release(server: GitServer, tmp_path: Path) -> None:
    def fetched(composer: bool) -> repository.Code:
        wanted = source(server, composer=composer)
        return repository.fetch(wanted, Secret(TOKEN), tmp_path / "code", "application.source")

    server.commit("site", {"composer.json": "{}"}, "one")
    with pytest.raises(AnswersError, match=r"there is no composer\.lock at"):
        fetched(composer=True)
    server.commit("site", {"composer.json": "{}", "composer.lock": "{}"}, "two")
    plain, composed = fetched(composer=False), fetched(composer=True)
    assert (plain.settings.composer, composed.settings.composer) == (False, True)
    assert plain.settings.digest != composed.settings.digest
    assert fetched(composer=True).settings.digest == composed.settings.digest


def test_a_revision_that_is_not_there_is_no_traceback(server: GitServer, tmp_path: Path) -> None:
    server.commit("site", FILES, "one")
    with pytest.raises(UsageError, match="cannot be fetched"):
        repository.fetch(
            source(server, revision="v9"), Secret(TOKEN), tmp_path / "code", "application.source"
        )


def test_a_backup_of_own_code_names_its_repository() -> None:
    def wants(kind: str, code: str) -> str:
        source = f"source: {{kind: backup, period: daily{code}}}"
        return REHEARSAL.replace("kind: wordpress", f"kind: {kind}\n  {source}")

    code = ", code: {url: https://git.test/a.git, health_path: /well, database: false}"
    found = loads(wants("php", code), "a.yaml")
    refuse_unsupported(found)
    assert (build.health_path(found), build.needs_database(found)) == ("/well", False)
    about = build._about
    assert list(about(found)) == ["the code is the repository's, whatever the backup was made of"]
    with_database = loads(wants("php", code.replace(", database: false", "")), "a.yaml")
    assert "; texts in its database are not touched" in next(iter(about(with_database)))
    wrong = {
        wants("php", ""): "application.source.code: found null for the application 'php'",
        wants("wordpress", code): "code: found a repository for the application 'wordpress'",
        wants("static", code.replace("}", ", cron: '* * * * *'}")): "application.source.code.cron",
    }
    for text, said in wrong.items():
        with pytest.raises(AnswersError) as refused:
            loads(text, "a.yaml")
        assert said in str(refused.value)

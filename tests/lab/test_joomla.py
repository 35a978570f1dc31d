"""Joomla from a release's archive: installed, upgraded, and back again when an upgrade fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import joomla_release
from tests.lab.deployments import Browser
from tests.lab.released import COPY, Released, destroyed
from tests.lab.test_own_code import files_of

pytestmark = pytest.mark.lab
CONTENT = bytes(range(256)) * 4096
TEXT = (
    '<img src="https://OLD/images/a.bin"> {"u":"https:\\/\\/OLD\\/"} not-OLD OLD.org a@OLD '
    "?u=https%3A%2F%2FOLD ü"
)

PLANT = """INSERT INTO PREFIX_content (title, introtext, state, access, created_by_alias) VALUES
  ('Hush', 'not yet', 0, 1, ''), ('Hush', 'for some', 1, 2, ''),
  ('Written', 'by jo@person.org', 1, 1, 'Jo Doe');
CREATE TABLE PREFIX_orders (id INT PRIMARY KEY, who VARCHAR(90));
INSERT INTO PREFIX_orders VALUES (1, 'Jo Doe, 1 Main Street');
INSERT INTO PREFIX_extensions
  VALUES ('plugin', 'captcha', '{}', '', '{"private_key":"k3y-of-nobody"}');
"""


def packed(folder: Path, number: int, breaks: bool) -> tuple[Path, str]:
    archive = folder / f"Joomla_6.0.{number}-Stable-Full_Package.tar.gz"
    return archive, joomla_release.pack(archive, joomla_release.files(number, breaks=breaks))


@pytest.fixture
def joomla(tmp_path: Path) -> Iterator[Released]:
    with destroyed(Released(tmp_path, "joomla", packed)) as found:
        yield found


def rows(on: Callable[[str, str], str]) -> tuple[str, str]:
    """Return all rows of a deployment's database, and the prefix of its tables."""
    dump = (
        "mariadb-dump --compact --no-create-info --skip-extended-insert --order-by-primary joomla"
    )
    found = on("db1", dump)
    prefix = re.findall(r"`(j\w{5}_)users`", found)[0]
    assert set(re.findall(r"INSERT INTO `(\w+?_)", found)) == {prefix}
    return found, prefix


def comparable(found: tuple[str, str], old: str) -> list[str]:
    """Return rows with what is meant to differ made the same, and lengths taken out."""
    text, prefix = found
    text = text.replace(prefix, "PREFIX_")
    own = ("users", "user_usergroup_map", "extensions", "session", "finder_terms")
    mine = re.compile(rf"`PREFIX_(?:{'|'.join(own)})`")
    lines = [line for line in text.splitlines() if not mine.search(line)]
    name = rf"(?:(?<![\w.@-])|(?<=%2F)){re.escape(old)}(?![\w-]|\.\w)"
    moved = [re.sub(name, COPY, line) for line in lines]
    return [re.sub(r"\bs:\d+:", "s:N:", line) for line in moved]


def test_joomla_is_installed_upgraded_and_back_when_an_upgrade_fails(joomla: Released) -> None:
    site = joomla.site
    joomla.deploy(1)
    old = site.state().hosts[0]
    # each may be there once, so the first cannot become the second
    terms = f"{old} {COPY} shop.{old} see:{old}"
    password = site.secrets()["admin_password"].reveal()
    login = {"username": "editor", "passwd": password}
    with Browser(site.state()) as visitor:
        assert visitor.get("/").text == "My first site 6.0.1"
        assert visitor.get("/administrator/").text == "log in"
        assert visitor.client.post("/administrator/index.php", data=login).text == "logged in"
        added = visitor.client.post(
            "/administrator/index.php",
            data={"title": "Botany", "introtext": TEXT.replace("OLD", old), "terms": terms},
            files={"file": ("a.bin", CONTENT)},
        )
        assert added.text == "added"
        assert visitor.get("/images/a.bin").content == CONTENT
        assert visitor.get("/blog").text == "Botany"
        assert visitor.get("/media/system.js").text == "/* served */"
        closed = (
            "/configuration.php", "/installation/index.php", "/cli/joomla.php", "/htaccess.txt",
            "/libraries/src/Version.php", "/administrator/manifests/files/joomla.xml", "/.revision",
            "/includes/framework.php", "/administrator/cache/autoload_psr4.php",
        )  # fmt: skip
        assert {path: visitor.get(path).status_code for path in closed} == dict.fromkeys(
            closed, 404
        )
        site.on("web1", "echo '<?php echo 1;' > /srv/site/shared/images/bad.php")
        assert visitor.get("/images/bad.php").status_code == 403
        writable = "for path in current current/configuration.php current/index.php; do "
        writable += "runuser -u www-data -- test -w /srv/site/$path && echo $path; done; true"
        assert site.on("web1", writable) == ""
        # the copy that was installed in is gone, with what it wrote
        left = [name for name in site.on("web1", "ls /srv/site/scratch").split() if len(name) < 16]
        assert left == ["logs", "temporary"]
        site.on("web1", "sed -n 's/^.* root //p' /etc/cron.d/build-usb-application | sh")
        site.on("web1", "test -e /srv/site/scratch/temporary/scheduler-ran")

        upgraded = joomla.deploy(2)
        assert "is what was before" in upgraded.stdout
        assert visitor.get("/").text == "My first site 6.0.2"
        # which classes there are is of each release
        found = "ls /srv/site/scratch/*/administrator/cache/autoload_psr4.php | wc -l"
        assert site.on("web1", found) == "2\n"
        content = next(
            t
            for t in site.on("db1", "mariadb -N joomla", "SHOW TABLES").split()
            if t.endswith("_content")
        )
        assert site.on(
            "db1", "mariadb -N joomla", f"SELECT title, language FROM {content}"
        ).split() == ["Botany", "*"]
        # who was logged in still is
        assert visitor.get("/administrator/").text == "welcome editor"

        failed = joomla.deploy(3, check=False, breaks=True)
        assert failed.returncode != 0
        assert "the upgrade failed" in failed.stderr
        assert "was put back" in failed.stderr
        assert visitor.get("/").text == "My first site 6.0.2"
        assert visitor.get("/blog").text == "Botany"
        assert visitor.get("/images/a.bin").content == CONTENT
        joomla.deploy(2)

        site.run("backup")
        made, kept = rows(site.on), files_of(site.on)

        # an installation that was killed midway is begun again
        users = next(
            t
            for t in site.on("db1", "mariadb -N joomla", "SHOW TABLES").split()
            if t.endswith("_users")
        )
        site.on("db1", "mariadb -N joomla", f"DELETE FROM {users}")
        site.on("web1", "rm /var/lib/build-usb/applied/release")
        joomla.deploy(2)
        assert visitor.client.post("/administrator/index.php", data=login).text == "logged in"
        assert visitor.get("/blog").text == ""
    assert json.loads(site.run("status", "--json").stdout)["healthy"]
    found = site.on("web1", f"grep -rlF '{password}' /etc /srv /var/log; true")
    assert found == "", "the administrator's password is in no file"

    # another deployment begins with the backup that was made before
    begun = joomla.begin(2, "keeper")
    assert "texts in the database" not in begun.stdout
    assert files_of(joomla.in_copy) == kept
    got = rows(joomla.in_copy)
    assert got[1] != made[1]
    assert comparable(got, COPY) == comparable(made, old)
    left = [line for line in got[0].splitlines() if re.search(rf"(?<![@-]){old}(?!\.org)", line)]
    assert [line for line in left if "finder_terms" not in line] == [], "the old name is gone"
    kept_terms = joomla.in_copy("db1", "mariadb -N joomla", f"SELECT * FROM {got[1]}finder_terms")
    assert set(kept_terms.split()) == {old, COPY, f"shop.{old}", f"see:{COPY}"}
    # as a run leaves it that was killed before the tables had their names
    names = joomla.in_copy("db1", "mariadb -N joomla", "SHOW TABLES").split()
    moves = ", ".join(f"{name} TO {name.replace(got[1], made[1])}" for name in names)
    killed = f"RENAME TABLE {moves}; UPDATE {made[1]}extensions SET custom_data = ''"
    joomla.in_copy("db1", "mariadb joomla", killed)
    joomla.in_copy("web1", "rm /var/lib/build-usb/applied/release")
    joomla.begin(2, "keeper")
    assert comparable(rows(joomla.in_copy), COPY) == comparable(made, old)
    with Browser(joomla.copy()) as visitor:
        assert visitor.get("/").text == "My first site 6.0.2"
        assert visitor.get("/texts").text == TEXT.replace("OLD", COPY).replace(
            f"not-{COPY} {COPY}.org a@{COPY}", f"not-{old} {old}.org a@{old}"
        )
        assert visitor.get("/images/a.bin").content == CONTENT
        log_in = visitor.client.post
        # nobody was logged in; its own administrator was made, others log in as before
        assert visitor.get("/administrator/").text == "log in"
        assert log_in("/administrator/index.php", data=login).text == "logged in"
        own = {"username": "keeper", "passwd": joomla.secret("admin_password")}
        assert log_in("/administrator/index.php", data=own).text == "logged in"
        # once: a newer release has a restore point of its own, and who is logged in stays so
        assert "is what was before" in joomla.begin(3, "keeper").stdout
        assert visitor.get("/").text == "My first site 6.0.3"
        assert visitor.get("/administrator/").text == "welcome keeper"
    users = f"SELECT username, group_id FROM {got[1]}users JOIN {got[1]}user_usergroup_map ON id = "
    found = joomla.in_copy("db1", "mariadb -N joomla", f"{users} user_id ORDER BY username")
    assert found.split() == ["editor", "8", "keeper", "8"]
    becomes_a_baseline(joomla, got[1])


def becomes_a_baseline(joomla: Released, prefix: str) -> None:
    """See that a baseline of the copy holds nobody and nothing private, and is a site again."""
    joomla.in_copy("db1", "mariadb joomla", PLANT.replace("PREFIX_", prefix))
    folder = joomla.baseline_of_copy("6.0.3", "orders")
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    private = (
        "keeper",
        "editor",
        "$2y$",
        "Hush",
        "Main Street",
        "Jo Doe",
        COPY,
        "person.org",
        "k3y-of-nobody",
    )
    assert [word for word in private if word.encode() in held] == []
    assert b"Botany" in held
    assert (folder / "files/shared/images/a.bin").read_bytes() == CONTENT

    state = joomla.begin_with_baseline(3, "third", "third.rehearsal.test")
    with Browser(state) as visitor:
        assert visitor.get("/").text == "Another site 6.0.3"
        assert visitor.get("/blog").text == "Botany, Written"
        assert f"https://{COPY}" not in visitor.get("/texts").text
        assert "https://third.rehearsal.test/images/a.bin" in visitor.get("/texts").text
        assert visitor.get("/images/a.bin").content == CONTENT
        word = joomla.secret("admin_password", "third")
        login = {"username": "editor", "passwd": word}
        found = visitor.client.post("/administrator/index.php", data=login)
        assert found.text == "logged in"
    tables = joomla.site.on("db1", "mariadb -N joomla", "SHOW TABLES", "third")
    (users,) = re.findall(r"j\w{5}_users", tables)
    content = users.replace("users", "content")
    whose = f"SELECT username FROM {content} JOIN {users} ON {users}.id = created_by"
    found = joomla.site.on("db1", "mariadb -N joomla", whose, "third")
    assert found.split() == ["editor", "editor"]

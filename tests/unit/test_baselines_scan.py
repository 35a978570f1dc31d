"""What must not be published is found by kind, with file and line, and never shown."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from wizard.baselines.kinds import FORMS, TOKENS
from wizard.baselines.scan import Finding, scan
from wizard.errors import UsageError
from wizard.secrets import Secret

HEX = "0123456789abcdef" * 4
WORD = "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z" * 4
# in two halves, so that this file holds none of them
PLANTED = {
    "private key": ("-----BEGIN OPENSSH PRIV", "ATE KEY-----"),
    "PuTTY private key": ("PuTTY-User-Key", "-File-3: ssh-ed25519"),
    "age identity": ("AGE-SECRET-KEY", "-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2),
    "AWS access key": ("key AKIA", "ABCDEFGHIJKLMNOP"),
    "DigitalOcean token": ("dop_v1", f"_{HEX}"),
    "GitHub token": ("ghp", f"_{WORD[:36]}"),
    "GitLab token": ("glpat", f"-{WORD[:20]}"),
    "Bitbucket app password": ("ATBB", WORD[:32]),
    "Atlassian token": ("ATATT3", WORD[:120]),
    "Google API key": ("AIza", WORD[:35]),
    "Google OAuth secret": ("GOCSPX", f"-{WORD[:28]}"),
    "Slack token": ("xoxb", "-123456789012-abcdef"),
    "Slack webhook": ("https://hooks.slack", ".com/services/T00000000/B00000000/XXXXXXXX"),
    "Discord webhook": ("https://discord", f".com/api/webhooks/1234/{WORD[:40]}"),
    "Telegram bot token": ("123456789", f":AA{WORD[:33]}"),
    "Stripe key": ("sk_live", f"_{WORD[:24]}"),
    "Square token": ("sq0atp", f"-{WORD[:22]}"),
    "PayPal token": ("access_token$live".replace("live", "production"), f"${HEX[:16]}${HEX[:32]}"),
    "Shopify token": ("shpat", f"_{HEX[:32]}"),
    "SendGrid key": ("SG.", f"{WORD[:22]}.{WORD[:43]}"),
    "Mailchimp key": (HEX[:32], "-us12"),
    "Mailgun key": ("key", f"-{HEX[:32]}"),
    "Brevo key": ("xkeysib", f"-{HEX}-{WORD[:16]}"),
    "Twilio key": ("SK", HEX[:32]),
    "npm token": ("npm", f"_{WORD[:36]}"),
    "PyPI token": ("pypi", f"-AgEIcHlwaS5vcmc{WORD[:40]}"),
    "Docker token": ("dckr_pat", f"_{WORD[:27]}"),
    "Vault token": ("hvs", f".{WORD[:24]}"),
    "Sentry token": ("sntrys", f"_{WORD[:60]}"),
    "Azure storage key": ("AccountKey", f"={WORD[:86]}=="),
    "JSON web token": ("eyJhbGciOiJI", f".eyJzdWIiOiIx.{WORD[:20]}"),
    "password in a URL": ("mysql://root", ":opensesame@db.internal/site"),
    "password hash": ("$2y", f"$10${WORD[:53]}"),
    "WordPress key or salt": ("define('AUTH", "_KEY', 'some long and random phrase');"),
    "WordPress session": ("wordpress_logged", f"_in_{HEX[:32]}"),
    "assigned secret": ("'pass", "word' => 'c0rrect-horse'"),
}


def test_every_kind_has_an_example() -> None:
    assert set(PLANTED) == {*FORMS, *TOKENS}
    assert len(PLANTED) >= 30


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("around", ["{}", 'return "{}";', "x = {}\n", 'a:1:{{s:1:"k";s:9:"{}";}}'])
def test_each_kind_is_found_by_name_where_it_stands(kind: str, around: str, tmp_path: Path) -> None:
    (tmp_path / "themes" / "own").mkdir(parents=True)
    secret = "".join(PLANTED[kind])
    (tmp_path / "themes/own/functions.php").write_text(
        "<?php\n// a theme\n" + around.format(secret) + "\n// its end\n"
    )
    found = scan(tmp_path)
    assert Finding("themes/own/functions.php", 3, kind) in found
    assert secret not in "".join(map(str, found))


def test_a_secret_in_a_serialised_value_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.txt").write_text('a:1:{s:8:"password";s:12:"c0rrect-hors";}\n')
    assert scan(tmp_path) == [Finding("config.txt", 1, "assigned secret")]


def test_secrets_of_the_deployment_are_found_however_they_are_written(tmp_path: Path) -> None:
    known = [
        ("database_password", Secret("tr0ub4dor&3 %")),
        ("salts", Secret('["salt-one-1", "x"]')),
    ]
    forms = {
        "plain.txt": b"tr0ub4dor&3 %",
        "base64.txt": base64.b64encode(b"tr0ub4dor&3 %"),
        "url.txt": b"p=tr0ub4dor%263%20%25",
        "binary.bin": b"\0\0tr0ub4dor&3 %\0",
        "salt.txt": b"here: salt-one-1",
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(b"\n" + data)
    found = scan(tmp_path, known)
    assert {f.file: f.kind for f in found} == {
        **dict.fromkeys(forms, "the secret database_password"),
        "salt.txt": "the secret salts",
    }
    assert {f.line for f in found} == {2}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".env", "settings file"), (".env.production", "settings file"),
        ("wp-config.php", "settings file"), ("server.pem", "key file"), ("id_rsa", "key file"),
        (".htpasswd", "password file"), ("error.log", "log"), ("debug.log.1", "log"),
        ("backup.sql.gz", "database dump"), (".bash_history", "history"),
    ],
)  # fmt: skip
def test_files_are_known_by_their_names(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    assert scan(tmp_path) == [Finding(name, 0, kind)]


def test_mail_addresses_dumps_and_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="mailto:jo.doe@shop.example.co">')
    (tmp_path / "data.txt").write_text("-- MariaDB dump 10.19\n")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "inside").symlink_to("a.html")
    assert scan(tmp_path) == [
        Finding("a.html", 1, "e-mail address"),
        Finding("data.txt", 1, "database dump"),
        Finding("passwd", 0, "link that leads out of the folder"),
    ]


def test_binary_columns_are_searched_as_well(tmp_path: Path) -> None:
    hidden = b"\x00\xff " + "".join(PLANTED["AWS access key"]).encode()
    row = f"-- a\nINSERT INTO `baseline_a` (`b`) VALUES (0x{hidden.hex()});\n"
    (tmp_path / "a.sql").write_text(row)
    (tmp_path / "a.txt").write_text(row)
    # a dump by its name; in a text it would be no value of a column
    assert scan(tmp_path)[1:] == [Finding("a.sql", 2, "AWS access key")]


def test_what_is_harmless_is_let_through(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(
        "DB_PASSWORD=${DATABASE_PASSWORD}\nMAIL=jo@example.org\n"
    )
    (tmp_path / "page.php").write_text(
        "<?php\n$password = $_POST['password'];\n"
        "define('AUTH_KEY', 'put your unique phrase here');\n"
        "$secret = get_option('secret');\n// see https://user.example.org/a@2x.png, logo@2x.png\n"
        f"$digest = '{HEX[:40]}';\n"
        "$label = ['password' => 'Password', 'token' => '{token1234}'];\n"
    )
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("".join(PLANTED["GitHub token"]))
    assert scan(tmp_path) == []


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        scan(tmp_path / "nowhere")


def test_the_command_names_places_and_ends_as_its_help_says(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wizard", "baseline", *words],
            env={
                "PATH": "/usr/bin:/bin",
                "BUILD_USB_HOME": str(tmp_path / "h"),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    shared = tmp_path / "shared"
    shared.mkdir()
    assert run("inspect", str(shared)).returncode == 0
    (shared / "a.php").write_text("".join(PLANTED["GitHub token"]))
    refused = run("inspect", str(shared))
    assert (refused.returncode, refused.stdout) == (10, "a.php:1: GitHub token\n")
    assert json.loads(run("inspect", "--json", str(shared)).stdout) == [
        {"file": "a.php", "line": 1, "kind": "GitHub token"}
    ]
    assert not (tmp_path / "h").exists()
    assert run("create", str(shared)).returncode == 2, "there is no such deployment"

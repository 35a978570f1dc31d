"""DokuWiki as somebody's own PHP without a database: Debian's package, with the few files that a
repository of it has beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lab.debian_packages import unpack

_LIBRARIES = (
    *("libphp-simplepie", "php-constant-time", "php-geshi"),
    *("php-kissifrot-php-ixr", "php-phpseclib3"),
)
_SHARE = "/usr/share/php"
WRITABLE = ("accounts", "data")
PRIVATE = (
    "accounts/*",
    *(f"data/{name}/*" for name in ("attic", "cache", "index", "locks", "log", "media_attic")),
    *("data/media_meta/*", "data/meta/*", "data/tmp/*", "data/*.xcf"),
)
"""What of the writable folders is not shared: accounts, who changed what from where, caches."""
SETTINGS = """TITLE=${SITE_TITLE}
URL=${SITE_URL}
ADMIN=${ADMIN_USER}
ADMIN_EMAIL=${ADMIN_EMAIL}
ADMIN_PASSWORD=${ADMIN_PASSWORD}
"""
PRELOAD = """<?php
define('DOKU_CONF', dirname(__DIR__, 2) . '/conf/');
$accounts = dirname(__DIR__, 2) . '/accounts/users.auth.php';
$config_cascade = ['plainauth.users' => ['default' => $accounts, 'protected' => '']];
"""
LOCAL = """<?php
$env = parse_ini_file(DOKU_CONF . '../.env', false, INI_SCANNER_RAW);
$conf['title'] = $env['TITLE'];
$conf['baseurl'] = rtrim($env['URL'], '/');
$conf['savedir'] = dirname(DOKU_CONF) . '/data';
$conf['useacl'] = 1;
$conf['superuser'] = '@admin';
$conf['disableactions'] = 'register';
"""
PREPARE = """<?php
// folders, and the first administrator: every deploy runs it
$env = parse_ini_file(__DIR__ . '/.env', false, INI_SCANNER_RAW);
foreach (['attic', 'cache', 'index', 'locks', 'log', 'media', 'media_attic', 'media_meta', 'meta',
    'pages', 'tmp'] as $name) {
    is_dir(__DIR__ . "/data/$name") || mkdir(__DIR__ . "/data/$name") || exit(1);
}
$file = __DIR__ . '/accounts/users.auth.php';
$lines = is_file($file) ? file($file) : ["# <?php exit() ?>\\n"];
$lines = array_filter($lines, fn($line) => !str_starts_with($line, "$env[ADMIN]:"));
$hash = password_hash($env['ADMIN_PASSWORD'], PASSWORD_BCRYPT);
$lines[] = "$env[ADMIN]:$hash:Administrator:$env[ADMIN_EMAIL]:admin,user\\n";
file_put_contents("$file.new", implode('', $lines)) && rename("$file.new", $file) || exit(1);
"""


def repository(folder: Path) -> Path:
    """Return a folder with the repository's files; `folder` is worked in."""
    parts = ("usr/share/dokuwiki", "etc/dokuwiki", "var/lib/dokuwiki")
    found = unpack(folder, "dokuwiki", *parts)
    made = folder / "repository"
    made.mkdir()
    public = (found / parts[0]).rename(made / "public")
    conf = (found / parts[1]).rename(made / "conf")
    for name in ("plugins", "tpl"):
        (public / "lib" / name).unlink()
        (found / parts[2] / "lib" / name).rename(public / "lib" / name)
    for package in _LIBRARIES:
        for path in (unpack(folder, package, "usr/share") / "usr/share").glob("php*"):
            shutil.copytree(path, made / "libraries" / path.name, dirs_exist_ok=True)
    # links of Debian's to other places, its installer, and other languages
    for path in [*made.rglob("*")]:
        odd = path.is_symlink() or path.name == "install.php"
        if odd and path.parent.is_dir():
            path.unlink()
        elif path.is_dir() and path.parent.name == "lang" and path.name != "en":
            shutil.rmtree(path)
    for path in public.rglob("*.php"):
        text = path.read_text(errors="surrogateescape")
        if f"'{_SHARE}" in text:
            up = "/".join([".."] * (len(path.relative_to(made).parts) - 1))
            new = f"__DIR__ . '/{up}/libraries/php"
            path.write_text(text.replace(f"'{_SHARE}", new), errors="surrogateescape")
    (public / "inc/preload.php").write_text(PRELOAD)
    (conf / "local.php").write_text(LOCAL)
    (conf / "acl.auth.php").write_text("* @ALL 1\n* @user 8\n")
    (made / "prepare.php").write_text(PREPARE)
    (made / "env.example").write_text(SETTINGS)
    (made / "data/pages").mkdir(parents=True)
    (made / "data/pages/start.txt").write_text("====== Welcome ======\n")
    return made

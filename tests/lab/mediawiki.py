"""MediaWiki as somebody's own PHP: Debian's package, with the few files that a repository of it has
beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lab.debian_packages import unpack

_HOME = "usr/share/mediawiki"
_PARTS = (
    *("api.php", "autoload.php", "composer.json", "index.php", "load.php", "rest.php", "vendor"),
    *("includes", "languages", "maintenance", "resources", "skins"),
)
SETTINGS = """TITLE=${SITE_TITLE}
URL=${SITE_URL}
ADMIN=${ADMIN_USER}
ADMIN_PASSWORD=${ADMIN_PASSWORD}
KEY=${APPLICATION_KEY}
DB_HOST=${DATABASE_HOST}:${DATABASE_PORT}
DB_NAME=${DATABASE_NAME}
DB_USER=${DATABASE_USER}
DB_PASSWORD=${DATABASE_PASSWORD}
DB_CA=${DATABASE_CERTIFICATE}
"""
LOCAL_SETTINGS = """<?php
$env = parse_ini_file(__DIR__ . '/../.env', false, INI_SCANNER_RAW);
$wgSitename = $env['TITLE'];
$wgServer = rtrim($env['URL'], '/');
$wgScriptPath = '';
$wgSecretKey = $env['KEY'];
$wgDBtype = 'mysql';
$wgDBserver = $env['DB_HOST'];
$wgDBname = $env['DB_NAME'];
$wgDBuser = $env['DB_USER'];
$wgDBpassword = $env['DB_PASSWORD'];
$wgDBssl = true;
$wgDBservers = [[
    'type' => 'mysql', 'host' => $wgDBserver, 'dbname' => $wgDBname, 'user' => $wgDBuser,
    'password' => $wgDBpassword, 'load' => 1, 'flags' => DBO_DEFAULT,
    'ssl' => true, 'sslCAFile' => $env['DB_CA'],
]];
$wgEnableUploads = true;
$wgUploadDirectory = __DIR__ . '/images';
$wgUploadPath = '/images';
$wgFileExtensions[] = 'mp4';
$wgVerifyMimeType = false;
$wgMainCacheType = CACHE_NONE;
$wgParserCacheType = CACHE_NONE;
$wgSessionCacheType = CACHE_DB;
$wgDefaultSkin = 'monobook';
wfLoadSkin('MonoBook');
"""
BASELINE = """-- what of the wiki is shared: the newest texts, and not who wrote them
DELETE FROM revision WHERE rev_id NOT IN (SELECT page_latest FROM page);
DELETE FROM slots WHERE slot_revision_id NOT IN (SELECT rev_id FROM revision);
DELETE FROM content WHERE content_id NOT IN (SELECT slot_content_id FROM slots);
DELETE FROM text WHERE CONCAT('tt:', old_id) NOT IN (SELECT content_address FROM content);
UPDATE comment SET comment_hash = 0, comment_text = '', comment_data = NULL;
UPDATE actor SET actor_user = NULL, actor_name = CONCAT('Author ', actor_id);
"""
SHARED = (
    *("actor", "comment", "content", "content_models", "image", "page", "revision", "slot*"),
    *("site_stats", "text", "updatelog"),
)
"""The tables whose rows are shared."""
PREPARE = """<?php
// tables and the first administrator, before a release goes live; where they are, nothing
$env = parse_ini_file(__DIR__ . '/.env', false, INI_SCANNER_RAW);
$db = mysqli_init();
$db->ssl_set(null, null, $env['DB_CA'], null, null);
[$host, $port] = explode(':', $env['DB_HOST']);
$db->real_connect($host, $env['DB_USER'], $env['DB_PASSWORD'], $env['DB_NAME'], (int) $port);
if ($db->query("SHOW TABLES LIKE 'page'")->num_rows) {
    $command = ['update', '--quick'];
} else {
    // it refuses to where it is configured already
    putenv('MW_CONFIG_FILE=/nonexistent');
    [$to, $database, $admin] = [sys_get_temp_dir(), tempnam('', ''), tempnam('', '')];
    file_put_contents($database, $env['DB_PASSWORD']);
    file_put_contents($admin, $env['ADMIN_PASSWORD']);
    $command = [
        'install', '--dbserver', $env['DB_HOST'], '--dbname', $env['DB_NAME'], '--dbssl',
        '--dbuser', $env['DB_USER'], '--dbpassfile', $database, '--passfile', $admin,
        '--server', $env['URL'], '--scriptpath', '', '--confpath', $to,
        $env['TITLE'], $env['ADMIN'],
    ];
}
$program = [PHP_BINARY, 'public/maintenance/run.php', ...$command];
passthru(implode(' ', array_map('escapeshellarg', $program)) . ' 2>&1', $failed);
if (isset($admin)) {
    array_map('unlink', [$database, $admin, "$to/LocalSettings.php"]);
    putenv('MW_CONFIG_FILE');
}
if ($failed) {
    exit(1);
}
require __DIR__ . '/public/maintenance/Maintenance.php';

class Prepare extends MediaWiki\\Maintenance\\Maintenance {
    public function execute() {
        $env = parse_ini_file(__DIR__ . '/.env', false, INI_SCANNER_RAW);
        $made = $this->createChild('CreateAndPromote', 'public/maintenance/createAndPromote.php');
        $made->setArg(0, $env['ADMIN']);
        $made->setArg(1, $env['ADMIN_PASSWORD']);
        foreach (['force', 'sysop', 'bureaucrat'] as $option) {
            $made->setOption($option, 1);
        }
        $made->execute();
    }
}
$maintClass = Prepare::class;
require RUN_MAINTENANCE_IF_MAIN;
"""


def repository(folder: Path) -> Path:
    """Return a folder with the repository's files; `folder` is worked in."""
    found = unpack(folder, "mediawiki", *(f"{_HOME}/{part}" for part in _PARTS))
    classes = unpack(folder, "mediawiki-classes", _HOME)
    made = folder / "repository"
    made.mkdir()
    public = (found / _HOME).rename(made / "public")
    shutil.copytree(classes / _HOME, public, dirs_exist_ok=True)
    # in English
    for path in (public / "languages/i18n").rglob("*.json"):
        if path.name not in ("en.json", "qqq.json"):
            path.unlink()
    for path in (public / "skins").iterdir():
        if path.is_dir() and path.name != "MonoBook":
            shutil.rmtree(path)
    (public / "extensions").mkdir()
    (public / "LocalSettings.php").write_text(LOCAL_SETTINGS)
    (made / "prepare.php").write_text(PREPARE)
    (made / "env.example").write_text(SETTINGS)
    (made / "baseline.sql").write_text(BASELINE)
    return made

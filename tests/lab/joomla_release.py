"""A small imitation of a Joomla release: the programs, settings and tables that deployments use.

Its installer takes the options that Joomla's takes, writes into its own folder and deletes itself;
the site serves nothing while an installer is in its folder, keeps sessions in a table, files in
`images`, and needs the database's TLS.
"""

from __future__ import annotations

import io
import tarfile
from hashlib import sha256
from pathlib import Path

MANIFEST = '<?xml version="1.0"?><extension type="file"><version>RELEASE</version></extension>\n'
CONNECT = r"""
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
function imitated_connect($host, $user, $password, $name, $encryption, $verify, $ca) {
    ((string) $encryption === '1' && $verify && is_file($ca)) || exit("no TLS\n");
    [$address, $port] = explode(':', $host);
    $made = mysqli_init();
    $made->ssl_set(null, null, $ca, null, null);
    $flags = MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT;
    $made->real_connect($address, $user, $password, $name, (int) $port, null, $flags);
    return $made;
}
"""
INSTALLER = (
    r"""<?php
"""
    + CONNECT
    + r"""
define('ROOT', dirname(__DIR__));
function refuse($why) { echo "$why\n"; exit(1); }
file_exists(ROOT . '/configuration.php') && refuse('configuration.php already present!');
$arguments = array_slice($_SERVER['argv'], 1);
array_shift($arguments) === 'install' || exit(1);
$known = ['site-name', 'admin-user', 'admin-username', 'admin-password', 'admin-email', 'db-type',
    'db-host', 'db-user', 'db-pass', 'db-name', 'db-prefix', 'db-encryption', 'db-sslkey',
    'db-sslcert', 'db-sslverifyservercert', 'db-sslca', 'db-sslcipher', 'public-folder'];
$quiet = false;
foreach ($arguments as $raw) {
    if ($raw === '--no-interaction') { $quiet = true; continue; }
    [$name, $value] = explode('=', substr($raw, 2), 2);
    in_array($name, $known, true) || refuse("The \"--$name\" option does not exist.");
    $given[$name] = $value;
}
$quiet || exit(1);
getenv('JOOMLA_INSTALLATION_DISABLE_LOCALHOST_CHECK') === '1' || refuse('delete a file');
strlen($given['admin-password']) < 12 && refuse('the password is too short');
$db = imitated_connect($given['db-host'], $given['db-user'], $given['db-pass'], $given['db-name'],
    $given['db-encryption'], $given['db-sslverifyservercert'], $given['db-sslca']);
$p = $given['db-prefix'];
$db->query("CREATE TABLE {$p}extensions
    (type VARCHAR(20), element VARCHAR(99), manifest_cache TEXT, custom_data TEXT NOT NULL,
    params TEXT NOT NULL DEFAULT '')");
$db->query("CREATE TABLE {$p}categories (id INT PRIMARY KEY, alias VARCHAR(99),
    published TINYINT NOT NULL DEFAULT 1, access INT NOT NULL DEFAULT 1,
    checked_out INT, checked_out_time DATETIME)");
$db->query("INSERT INTO {$p}categories (id, alias, published)
    VALUES (1, 'root', 0), (2, 'all', 1)");
$db->query("CREATE TABLE {$p}content (id INT AUTO_INCREMENT PRIMARY KEY, title TEXT,
    introtext MEDIUMTEXT NOT NULL, catid INT NOT NULL DEFAULT 2, state TINYINT NOT NULL DEFAULT 1,
    access INT NOT NULL DEFAULT 1, publish_up DATETIME, created_by INT NOT NULL DEFAULT 42,
    created_by_alias VARCHAR(99) NOT NULL DEFAULT '', modified_by INT NOT NULL DEFAULT 0,
    checked_out INT, checked_out_time DATETIME)");
$db->query("CREATE TABLE {$p}finder_links (link_id INT AUTO_INCREMENT PRIMARY KEY,
    object MEDIUMBLOB)");
$db->query("CREATE TABLE {$p}finder_terms (term VARCHAR(75) PRIMARY KEY)");
$db->query("CREATE TABLE {$p}assets (name VARCHAR(50), rules VARCHAR(5120))");
$db->execute_query("INSERT INTO {$p}assets VALUES ('root.1', ?)",
    ['{"core.login.site":{"6":1,"2":1},"core.admin":{"7":0,"8":1}}']);
$db->query("CREATE TABLE {$p}user_usergroup_map
    (user_id INT, group_id INT, PRIMARY KEY (user_id, group_id))");
$db->query("CREATE TABLE {$p}session (session_id VARCHAR(99) PRIMARY KEY, username TEXT)");
$db->query("CREATE TABLE {$p}users (id INT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(99) NOT NULL, username VARCHAR(99) NOT NULL UNIQUE, email VARCHAR(99) NOT NULL,
    password VARCHAR(100) NOT NULL, block TINYINT NOT NULL, sendEmail TINYINT NOT NULL,
    registerDate DATETIME NOT NULL, activation VARCHAR(100) NOT NULL, params TEXT NOT NULL,
    requireReset TINYINT NOT NULL DEFAULT 0)");
$manifest = simplexml_load_file(ROOT . '/administrator/manifests/files/joomla.xml');
$version = (string) $manifest->version;
$db->execute_query("INSERT INTO {$p}extensions VALUES ('file', 'joomla', ?, '', '')",
    [json_encode(['version' => $version])]);
file_put_contents(ROOT . '/configuration.php', '<?php class JConfig {}') || exit(1);
$db->execute_query("INSERT INTO {$p}users VALUES
    (42, ?, ?, ?, ?, 0, 1, UTC_TIMESTAMP(), '0', '', 0)",
    [$given['admin-user'], $given['admin-username'], $given['admin-email'],
    password_hash($given['admin-password'], PASSWORD_DEFAULT)]);
$db->query("INSERT INTO {$p}user_usergroup_map VALUES (42, 8)");
foreach (['forms/setup.xml', 'index.php', 'joomla.php'] as $name) {
    unlink(__DIR__ . "/$name") || exit(1);
}
exit(0);
"""
)
DEFINES = """<?php
defined('_JEXEC') or die;
define('JPATH_ROOT', JPATH_BASE);
"""
FRAMEWORK = (
    r"""<?php
namespace {
defined('_JEXEC') or die;
if (file_exists(JPATH_ROOT . '/installation/index.php')) { echo 'install me'; exit(1); }
require_once JPATH_ROOT . '/configuration.php';
"""
    + CONNECT
    + r"""
$config = new JConfig();
$config->session_handler === 'database' && is_writable($config->tmp_path) || exit("settings\n");
is_writable(JPATH_ROOT . '/administrator/cache') && is_writable($config->log_path) || exit("no\n");
file_put_contents(JPATH_ROOT . '/administrator/cache/autoload_psr4.php', '<?php');
$GLOBALS['db'] = imitated_connect($config->host, $config->user, $config->password, $config->db,
    $config->dbencryption, $config->dbsslverifyservercert, $config->dbsslca);
}
namespace Joomla\CMS {
class Factory {
    public static $application;
    public static function getContainer() {
        return new class {
            public function alias($name, $key) { return $this; }
            public function get($name) {
                $name === 'Joomla\Console\Application' || exit(1);
                return $this;
            }
            public function bootComponent($name) { return $this; }
            public function getMVCFactory() { return $this; }
            public function createModel($name, $where, $options) {
                Factory::$application || exit("no application\n");
                [$name, $where] === ['Update', 'Administrator'] || exit(1);
                return $this;
            }
            public function finaliseUpgrade() {
                [$db, $p] = [$GLOBALS['db'], (new \JConfig())->dbprefix];
                BREAKS
                $db->query("ALTER TABLE {$p}content ADD COLUMN IF NOT EXISTS language VARCHAR(7)");
                $db->query("UPDATE {$p}content SET language = '*'");
                $db->execute_query("UPDATE {$p}extensions SET manifest_cache = ?",
                    [json_encode(['version' => 'RELEASE'])]);
                return true;
            }
        };
    }
}
}
"""
)
BROKEN = r"""$db->query("DROP TABLE {$p}content"); return false;"""
START = r"""<?php
const _JEXEC = 1;
define('JPATH_BASE', UP);
require_once JPATH_BASE . '/includes/defines.php';
require_once JPATH_BASE . '/includes/framework.php';
"""
SITE = START.replace("UP", "__DIR__") + (
    r"""
$p = $config->dbprefix;
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path === '/blog') {
    $found = $db->query("SELECT title FROM {$p}content ORDER BY id")->fetch_all();
    exit(implode(', ', array_column($found, 0)));
}
if ($path === '/texts') {
    $found = $db->query("SELECT introtext FROM {$p}content ORDER BY id")->fetch_all();
    exit(implode("\n", array_column($found, 0)));
}
if ($path !== '/') { exit(http_response_code(404)); }
echo $config->sitename, ' RELEASE';
"""
)
ADMINISTRATOR = START.replace("UP", "dirname(__DIR__)") + (
    r"""
$p = $config->dbprefix;
if (isset($_POST['username'])) {
    $found = $db->execute_query("SELECT password FROM {$p}users WHERE username = ?",
        [$_POST['username']])->fetch_row();
    password_verify($_POST['passwd'], $found[0] ?? '') || exit('no');
    $id = bin2hex(random_bytes(20));
    $db->execute_query("INSERT INTO {$p}session VALUES (?, ?)", [$id, $_POST['username']]);
    setcookie('joomla', $id, ['path' => '/', 'secure' => true, 'httponly' => true]);
    exit('logged in');
}
$known = $db->execute_query("SELECT username FROM {$p}session WHERE session_id = ?",
    [$_COOKIE['joomla'] ?? ''])->fetch_row();
if ($known && isset($_POST['title'])) {
    $text = $_POST['introtext'] ?? '';
    $db->execute_query("INSERT INTO {$p}content (title, introtext) VALUES (?, ?)",
        [$_POST['title'], $text]);
    $db->execute_query("INSERT INTO {$p}finder_links (object) VALUES (?)",
        [serialize(['title' => $_POST['title'], 'body' => $text])]);
    foreach (array_filter(explode(' ', $_POST['terms'] ?? '')) as $term) {
        $db->execute_query("INSERT IGNORE INTO {$p}finder_terms VALUES (?)", [$term]);
    }
    ['tmp_name' => $from, 'name' => $name] = $_FILES['file'];
    move_uploaded_file($from, JPATH_ROOT . "/images/$name");
    exit('added');
}
echo $known ? "welcome $known[0]" : 'log in';
"""
)
CLI = START.replace("UP", "dirname(__DIR__)") + (
    r"""
$argv[1] === 'scheduler:run' && in_array('--all', $argv, true) || exit(1);
touch("{$config->tmp_path}/scheduler-ran");
"""
)


def files(number: int, *, breaks: bool = False) -> dict[str, str]:
    """Return the files of the imitation of 6.0.`number`; `breaks`: its upgrade fails half done."""
    contents = {
        "index.php": SITE,
        "administrator/index.php": ADMINISTRATOR,
        "administrator/cache/index.html": "",
        "administrator/manifests/files/joomla.xml": MANIFEST,
        "cache/index.html": "",
        "cli/joomla.php": CLI,
        "htaccess.txt": "# of another server",
        "images/index.html": "",
        "includes/defines.php": DEFINES,
        "includes/framework.php": FRAMEWORK.replace("BREAKS", BROKEN if breaks else ""),
        "installation/forms/setup.xml": '<form><field name="public_folder"/></form>',
        "installation/index.php": "<?php echo 'install me';",
        "installation/joomla.php": INSTALLER,
        "libraries/src/Version.php": "<?php",
        "media/system.js": "/* served */",
    }
    return {path: text.replace("RELEASE", f"6.0.{number}") for path, text in contents.items()}


def pack(path: Path, contents: dict[str, str]) -> str:
    """Write the archive of a release as its project packs it, without a folder; return its
    SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return sha256(path.read_bytes()).hexdigest()

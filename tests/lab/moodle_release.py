"""A small imitation of a Moodle release: the programs, settings and tables that deployments use.

It takes the arguments that Moodle's own programs take, reads config.php as they do, keeps its data
in tables with the prefix, files by their digest in the data folder, and needs the database's TLS.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

SETUP = r"""<?php
$CFG->dirroot = dirname(__DIR__);
if (defined('CLI_SCRIPT')) {
    // Moodle goes to the folder of the program that is named first
    chdir(dirname($_SERVER['argv'][0])) && file_exists('../../version.php') || exit(1);
}
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$CFG->dboptions['ssl'] === 'verify-full' || exit(1);
/** PostgreSQL with the functions of mysqli that are used here. */
class ImitatedPgsql {
    private $link;
    public $num_rows;
    private $rows;
    public function __construct($where = null, $rows = null) {
        $this->link = $where ? pg_connect($where) : null;
        [$this->rows, $this->num_rows] = [$rows, $rows === null ? 0 : count($rows)];
    }
    public function execute_query($sql, $values = []) {
        $at = 0;
        $number = function () use (&$at) { return '$' . ++$at; };
        $sql = preg_replace_callback('/[?]/', $number, $sql);
        $done = pg_query_params($this->link, $sql, $values) ?: exit(1);
        return new self(null, array_map('array_values', pg_fetch_all($done, PGSQL_NUM)));
    }
    public function query($sql) { return $this->execute_query($sql); }
    public function fetch_all() { return $this->rows; }
    public function fetch_row() { return array_shift($this->rows); }
}
if ($CFG->dbtype === 'pgsql') {
    $DB = new ImitatedPgsql("host='$CFG->dbhost' port='{$CFG->dboptions['dbport']}' "
        . "user='$CFG->dbuser' password='$CFG->dbpass' dbname='$CFG->dbname'");
    $secure = $DB->query('SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    $secure->fetch_row()[0] && getenv('PGSSLMODE') === 'verify-full' || exit("no TLS\n");
} else {
    $DB = mysqli_init();
    $DB->real_connect($CFG->dbhost, $CFG->dbuser, $CFG->dbpass, $CFG->dbname,
        $CFG->dboptions['dbport'], null, MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT);
}
$NUMBERED = $CFG->dbtype === 'pgsql' ? 'SERIAL' : 'INT AUTO_INCREMENT';
function stored($DB, $CFG, $name) {
    $found = $DB->execute_query("SELECT value FROM {$CFG->prefix}config WHERE name = ?", [$name]);
    return $found->fetch_row()[0] ?? null;
}
function set_config($name, $value) {
    global $DB, $CFG;
    $DB->execute_query("DELETE FROM {$CFG->prefix}config WHERE name = ?", [$name]);
    $DB->execute_query("INSERT INTO {$CFG->prefix}config VALUES (?, ?)", [$name, $value]);
    $CFG->$name = $value;
}
function purge_all_caches() {
    global $DB, $CFG;
    $DB->query("DELETE FROM {$CFG->prefix}cache_filters");
}
function update_internal_user_password($user, $password) {
    global $DB, $CFG;
    $user->auth === 'manual' || exit(1);
    $DB->execute_query("UPDATE {$CFG->prefix}user SET password = ? WHERE id = ?",
        [password_hash($password, PASSWORD_DEFAULT), $user->id]);
}
const MUST_EXIST = 2;
class core_user {
    public static function get_user($id, $fields, $strictness) {
        global $DB, $CFG;
        $found = $DB->execute_query("SELECT id, auth FROM {$CFG->prefix}user WHERE id = ?", [$id]);
        return (object) array_combine(['id', 'auth'], $found->fetch_row() ?: exit(1));
    }
}
$there = "SELECT 1 FROM information_schema.tables WHERE table_name = '{$CFG->prefix}config'";
if ($DB->query($there)->num_rows) {
    foreach ($DB->query("SELECT name, value FROM {$CFG->prefix}config")->fetch_all() as $kept) {
        $CFG->{$kept[0]} = $kept[1];
    }
}
function code_version($CFG) {
    defined('MOODLE_INTERNAL') || define('MOODLE_INTERNAL', true);
    require $CFG->dirroot . '/version.php';
    return $version;
}
"""
INSTALL = r"""<?php
define('CLI_SCRIPT', true);
if (isset($_SERVER['REMOTE_ADDR'])) { exit(1); }
require dirname(__DIR__, 2) . '/config.php';
if ((int) ini_get('max_input_vars') < 5000) { echo "max_input_vars is too low\n"; exit(1); }
foreach (array_slice($_SERVER['argv'], 1) as $raw) {
    [$key, $value] = explode('=', substr($raw, 2), 2) + [1 => true];
    $options[$key] = $value;
}
$there = "SELECT 1 FROM information_schema.tables WHERE table_name LIKE '{$CFG->prefix}%'";
if ($DB->query($there)->num_rows) { echo "tables exist\n"; exit(1); }
isset($options['agree-license'], $options['adminpass'], $options['adminemail']) || exit(1);
touch("{$CFG->dataroot}/written") && is_writable(dirname($CFG->tempdir)) || exit(1);
$DB->query("CREATE TABLE {$CFG->prefix}config (name VARCHAR(99) PRIMARY KEY, value TEXT)");
$DB->query("CREATE TABLE {$CFG->prefix}user (id $NUMBERED PRIMARY KEY,
    auth VARCHAR(20) NOT NULL DEFAULT 'manual', confirmed INT NOT NULL DEFAULT 0,
    suspended INT NOT NULL DEFAULT 0, deleted INT NOT NULL DEFAULT 0, mnethostid INT NOT NULL,
    username VARCHAR(99) NOT NULL, password VARCHAR(255) NOT NULL DEFAULT '',
    firstname VARCHAR(99) NOT NULL DEFAULT '', lastname VARCHAR(99) NOT NULL DEFAULT '',
    email VARCHAR(99) NOT NULL DEFAULT '', lastip VARCHAR(45) NOT NULL DEFAULT '',
    secret VARCHAR(15) NOT NULL DEFAULT '')");
foreach ([
    "course (id $NUMBERED PRIMARY KEY, format VARCHAR(21) NOT NULL DEFAULT 'topics', fullname TEXT,
        shortname TEXT, summary TEXT, defaultgroupingid INT NOT NULL DEFAULT 0)",
    "modules (id $NUMBERED PRIMARY KEY, name VARCHAR(20) NOT NULL)",
    "course_modules (id $NUMBERED PRIMARY KEY, course INT NOT NULL, module INT NOT NULL,
        instance INT NOT NULL, groupingid INT NOT NULL DEFAULT 0,
        deletioninprogress INT NOT NULL DEFAULT 0)",
    "context (id $NUMBERED PRIMARY KEY, contextlevel INT NOT NULL, instanceid INT NOT NULL)",
    "block_instances (id $NUMBERED PRIMARY KEY, blockname VARCHAR(40) NOT NULL DEFAULT 'html',
        parentcontextid INT NOT NULL DEFAULT 1, configdata TEXT)",
    "files (id $NUMBERED PRIMARY KEY, contenthash VARCHAR(40), pathnamehash VARCHAR(40) UNIQUE,
        contextid INT NOT NULL, component VARCHAR(100) NOT NULL, filearea VARCHAR(50) NOT NULL,
        itemid INT NOT NULL, filepath VARCHAR(255) NOT NULL, filename VARCHAR(255) NOT NULL,
        userid INT, source TEXT, author VARCHAR(255), referencefileid INT)",
    "page (id $NUMBERED PRIMARY KEY, course INT NOT NULL, name TEXT, content TEXT)",
    "enrol (id $NUMBERED PRIMARY KEY, enrol VARCHAR(20) NOT NULL, status INT NOT NULL DEFAULT 0,
        courseid INT NOT NULL, password VARCHAR(50), customint5 INT)",
    "user_enrolments (id $NUMBERED PRIMARY KEY, enrolid INT NOT NULL, userid INT NOT NULL)",
    "assign_submission (id $NUMBERED PRIMARY KEY, userid INT NOT NULL, status VARCHAR(99))",
    "config_plugins (id $NUMBERED PRIMARY KEY, plugin VARCHAR(100) NOT NULL,
        name VARCHAR(100) NOT NULL, value TEXT NOT NULL)",
] as $table) {
    $DB->query("CREATE TABLE {$CFG->prefix}$table");
}
foreach (['page', 'lti'] as $name) {
    $DB->execute_query("INSERT INTO {$CFG->prefix}modules (name) VALUES (?)", [$name]);
}
$DB->query("INSERT INTO {$CFG->prefix}context (contextlevel, instanceid) VALUES (10, 0)");
$DB->execute_query("INSERT INTO {$CFG->prefix}course (format, fullname, shortname, summary)
    VALUES ('site', ?, ?, '')", [$options['fullname'], $options['shortname']]);
$DB->query("CREATE TABLE {$CFG->prefix}sessions (sid VARCHAR(99) PRIMARY KEY)");
$DB->query("CREATE TABLE {$CFG->prefix}cache_filters (md5key VARCHAR(32), rawtext TEXT)");
$DB->execute_query("INSERT INTO {$CFG->prefix}user
    (confirmed, mnethostid, username, password) VALUES (1, 1, 'guest', ?)",
    [password_hash('guest', PASSWORD_DEFAULT)]);
$DB->execute_query("INSERT INTO {$CFG->prefix}user
    (confirmed, mnethostid, username, password, email) VALUES (1, 1, ?, ?, ?)",
    [$options['adminuser'], password_hash($options['adminpass'], PASSWORD_DEFAULT),
    $options['adminemail']]);
$add = "INSERT INTO {$CFG->prefix}config VALUES (?, ?)";
$DB->execute_query($add, ['version', code_version($CFG)]);
$DB->execute_query($add, ['mnet_localhost_id', '1']);
$DB->execute_query($add, ['siteadmins', '2']);
$name = parse_url($CFG->wwwroot, PHP_URL_HOST);
$DB->execute_query($add, ['siteidentifier', bin2hex(random_bytes(16)) . $name]);
$DB->execute_query($add, ['rolesactive', '1']);
"""
UPGRADE = r"""<?php
define('CLI_SCRIPT', true);
if (isset($_SERVER['REMOTE_ADDR'])) { exit(1); }
require dirname(__DIR__, 2) . '/config.php';
if ((int) ini_get('max_input_vars') < 5000) { echo "max_input_vars is too low\n"; exit(1); }
in_array('--non-interactive', $_SERVER['argv'], true) || exit(1);
if (code_version($CFG) < stored($DB, $CFG, 'version')) {
    fwrite(STDERR, "The code you are using is OLDER than the version that made these databases!\n");
    exit(1);
}
if (stored($DB, $CFG, 'version') === code_version($CFG)) { echo "No upgrade needed\n"; exit(0); }
$DB->execute_query("UPDATE {$CFG->prefix}config SET value = ? WHERE name = 'version'",
    [code_version($CFG)]);
BREAKS
// it goes on in the name of the first administrator
$first = $DB->execute_query("SELECT id FROM {$CFG->prefix}user WHERE id = ?",
    [(int) $CFG->siteadmins]);
$first->num_rows || exit(1);
exit(0);
"""
BROKEN = r"""$DB->query("DROP TABLE {$CFG->prefix}course");
echo "the upgrade of courses failed\n"; exit(1);"""
LOGIN = """<?php
require dirname(__DIR__) . '/config.php';
if (stored($DB, $CFG, 'version') !== code_version($CFG)) {
    http_response_code(503);
    exit('upgrade pending');
}
if (isset($_POST['username'])) {
    $found = $DB->execute_query("SELECT password FROM {$CFG->prefix}user WHERE username = ?",
        [$_POST['username']])->fetch_row();
    $found && password_verify($_POST['password'], $found[0]) || exit('no');
    $DB->execute_query("INSERT INTO {$CFG->prefix}sessions VALUES (?)", [bin2hex(random_bytes(9))]);
    exit('logged in');
}
$site = $DB->query("SELECT fullname FROM {$CFG->prefix}course WHERE format = 'site'");
echo $site->fetch_row()[0], ' ', $CFG->wwwroot;
echo '<form method="post"><input name="username"><input type="password" name="password"></form>';
"""
COURSE = """<?php
require dirname(__DIR__) . '/config.php';
if (isset($_POST['fullname'])) {
    $summary = $_POST['summary'] ?? '';
    $DB->execute_query("INSERT INTO {$CFG->prefix}course (fullname, summary) VALUES (?, ?)",
        [$_POST['fullname'], $summary]);
    $block = ['title' => $_POST['fullname'], 'text' => $summary];
    $DB->execute_query("INSERT INTO {$CFG->prefix}block_instances (configdata) VALUES (?)",
        [base64_encode(serialize((object) $block))]);
    $digest = sha1_file($_FILES['file']['tmp_name']);
    $folder = "{$CFG->dataroot}/filedir/" . substr($digest, 0, 2) . '/' . substr($digest, 2, 2);
    is_dir($folder) || mkdir($folder, $CFG->directorypermissions, true);
    move_uploaded_file($_FILES['file']['tmp_name'], "$folder/$digest");
    $name = "page of {$_SERVER['HTTP_HOST']}.html";
    $DB->execute_query("INSERT INTO {$CFG->prefix}files (contenthash, pathnamehash, contextid,
        component, filearea, itemid, filepath, filename, userid, author)
        VALUES (?, ?, 1, 'course', 'summary', 0, '/', ?, 2, 'Admin User')",
        [$digest, sha1("/1/course/summary/0/$name"), $name]);
    exit($digest);
}
if (isset($_GET['summaries'])) {
    $found = $DB->query("SELECT summary FROM {$CFG->prefix}course
        WHERE format <> 'site' ORDER BY id")->fetch_all();
    $blocks = $DB->query("SELECT configdata FROM {$CFG->prefix}block_instances ORDER BY id");
    foreach ($blocks->fetch_all() as $block) {
        $found[] = [unserialize(base64_decode($block[0]))->text];
    }
    exit(implode("\n", array_column($found, 0)));
}
if (isset($_GET['pages'])) {
    $found = $DB->query("SELECT p.content FROM {$CFG->prefix}course_modules c
        JOIN {$CFG->prefix}modules m ON m.id = c.module AND m.name = 'page'
        JOIN {$CFG->prefix}page p ON p.id = c.instance ORDER BY c.id")->fetch_all();
    exit(implode("\n", array_column($found, 0)));
}
if (isset($_GET['files'])) {
    foreach ($DB->query("SELECT pathnamehash, contenthash, filename FROM {$CFG->prefix}files
        ORDER BY id")->fetch_all() as [$place, $digest, $name]) {
        // as it looks for a file: by the digest of where it is
        echo sha1("/1/course/summary/0/$name") === $place ? $digest : 'lost', ' ';
    }
    exit;
}
$names = $DB->query("SELECT fullname FROM {$CFG->prefix}course
    WHERE format <> 'site' ORDER BY id")->fetch_all();
echo implode(', ', array_column($names, 0));
"""
USERS = """<?php
function user_create_user($user, $updatepassword = true, $triggerevent = true) {
    global $DB, $CFG;
    // a password is looked at here, by rules of the site's
    $user['username'] === strtolower($user['username']) && !isset($user['password']) || exit(1);
    $user['auth'] === 'manual' && $user['firstname'] && $user['lastname'] || exit(1);
    $DB->execute_query("INSERT INTO {$CFG->prefix}user
        (confirmed, mnethostid, username, password, email) VALUES (?, ?, ?, '', ?)",
        [$user['confirmed'], $user['mnethostid'], $user['username'], $user['email']]);
    return $DB->execute_query("SELECT id FROM {$CFG->prefix}user WHERE username = ?",
        [$user['username']])->fetch_row()[0];
}
"""
FILE = """<?php
require __DIR__ . '/config.php';
preg_match('~^/([0-9a-f]{40})/~', $_SERVER['PATH_INFO'], $found) || exit('none');
header('Content-Type: application/octet-stream');
[$one, $two] = str_split($found[1], 2);
readfile("{$CFG->dataroot}/filedir/$one/$two/$found[1]");
"""
CRON = """<?php
define('CLI_SCRIPT', true);
require dirname(__DIR__, 2) . '/config.php';
touch("{$CFG->dataroot}/cron-ran");
"""


def files(number: int, *, breaks: bool = False) -> dict[str, str]:
    """Return the files of the imitation of 5.0.`number`; `breaks`: its upgrade fails half done."""
    version = f"20250414{number:02}.00"
    return {
        "version.php": "<?php\ndefined('MOODLE_INTERNAL') || die();\n"
        f"$version  = '{version}';\n$release  = '5.0.{number} (Build: 20250811)';\n"
        "$branch   = '500';\n",
        "index.php": "<?php require __DIR__ . '/login/index.php';",
        "lib/setup.php": SETUP,
        "lib/tests/fixtures/data.txt": "of developers",
        "admin/cli/install_database.php": INSTALL,
        "admin/cli/upgrade.php": UPGRADE.replace("BREAKS", BROKEN if breaks else ""),
        "admin/cli/cron.php": CRON,
        "login/index.php": LOGIN,
        "course/index.php": COURSE,
        "user/lib.php": USERS,
        "pluginfile.php": FILE,
    }


def pack(path: Path, contents: dict[str, str], folder: str = "moodle") -> str:
    """Write the archive of a release as its project packs it; return its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""A small imitation of a Drupal release: the functions, settings and tables that deployments use.

Its functions are called, and answer, as Drupal's own are; it reads settings.php as Drupal does,
refuses other names than its own, keeps sessions and state in tables, files in the public and the
private folder, and needs the database's TLS.
"""

from __future__ import annotations

AUTOLOAD = r"""<?php
$known = [
    'Drupal' => 'core/lib/Drupal.php',
    'Symfony\Component\HttpFoundation\Request' => 'vendor/Request.php',
    'Drupal\user\Storage' => 'core/modules/user/Storage.php',
    'Drupal\user\RoleStorage' => 'core/modules/user/RoleStorage.php',
];
spl_autoload_register(function ($class) use ($known) {
    $core = 'core/lib/' . strtr($class, '\\', '/') . '.php';
    $file = dirname(__DIR__) . '/' . ($known[$class] ?? $core);
    is_file($file) && require $file;
});
return new stdClass();
"""
REQUEST = r"""<?php
namespace Symfony\Component\HttpFoundation;

class Request {
    public function __construct(public string $host, public string $path) {}
    public static function create(string $uri) {
        return new self(parse_url($uri, PHP_URL_HOST), parse_url($uri, PHP_URL_PATH));
    }
    public static function createFromGlobals() {
        return new self($_SERVER['HTTP_HOST'], parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
    }
}
"""
DRUPAL = r"""<?php
class Drupal {
    const VERSION = 'RELEASE';
    public static PDO $database;
    public static function service($id) {
        return new class {
            public function run() {
                return Drupal::keep('state', 'system.cron_last', time());
            }
            public function getPendingUpdateFunctions() {
                $known = Drupal::kept('post_update', 'existing_updates') ?? [];
                return array_diff(['system_post_update_titles_SCHEMA'], $known);
            }
        };
    }
    public static function state() {
        return new class {
            public function get($name) { return Drupal::kept('state', $name); }
            public function set($name, $value) { Drupal::keep('state', $name, $value); }
        };
    }
    public static function database() {
        return new class {
            public function schema() { return $this; }
            public function tableExists($table) { return $table === 'sessions'; }
            public function truncate($table) { return $this; }
            public function execute() { Drupal::$database->exec('DELETE FROM sessions'); }
            public function query($sql) {
                return new class(strtr($sql, ['{' => '', '}' => ''])) {
                    public function __construct(private string $sql) {}
                    public function fetchField() {
                        return Drupal::$database->query($this->sql)->fetchColumn();
                    }
                };
            }
        };
    }
    public static function entityTypeManager() {
        return new class {
            public function getStorage($kind) {
                return $kind === 'user' ? new Drupal\user\Storage() : new Drupal\user\RoleStorage();
            }
        };
    }
    public static function kept($collection, $name) {
        $ask = self::$database->prepare(
            'SELECT value FROM key_value WHERE collection = ? AND name = ?');
        $ask->execute([$collection, $name]);
        $found = $ask->fetchColumn();
        if ($found === false) { return null; }
        return unserialize(is_resource($found) ? stream_get_contents($found) : $found);
    }
    public static function config($name) {
        $ask = self::$database->prepare('SELECT data FROM config WHERE name = ?');
        $ask->execute([$name]);
        $found = $ask->fetchColumn();
        return unserialize(is_resource($found) ? stream_get_contents($found) : $found);
    }
    public static function keep($collection, $name, $value) {
        self::$database->prepare('DELETE FROM key_value WHERE collection = ? AND name = ?')
            ->execute([$collection, $name]);
        $put = self::$database->prepare('INSERT INTO key_value VALUES (?, ?, ?)');
        $put->bindValue(1, $collection);
        $put->bindValue(2, $name);
        $put->bindValue(3, serialize($value), PDO::PARAM_LOB);
        return $put->execute();
    }
}
"""
KERNEL = r"""<?php
namespace Drupal\Core;

class DrupalKernel {
    public static array $settings;
    public static function createFromRequest($request, $autoloader, $environment, $dumping = true) {
        is_object($autoloader) && $environment === 'prod' || exit(1);
        $app_root = dirname(__DIR__, 4);
        chdir($app_root);
        $site_path = 'sites/default';
        $settings = $databases = $config = [];
        require "$app_root/$site_path/settings.php";
        self::$settings = $settings;
        $names = $settings['trusted_host_patterns'] ?? [];
        $trusted = fn ($pattern) => preg_match('{' . $pattern . '}i', $request->host);
        if (PHP_SAPI !== 'cli' && !array_filter($names, $trusted)) {
            http_response_code(400);
            exit('The provided host name is not valid for this server.');
        }
        strlen($settings['hash_salt'] ?? '') > 40 || exit('no hash_salt');
        $settings['update_free_access'] === false || exit(1);
        \Drupal::$database = self::connect($databases['default']['default']);
        return new static();
    }
    private static function connect($info) {
        ['driver' => $driver, 'host' => $host, 'port' => $port, 'database' => $name] = $info;
        $info['namespace'] === "Drupal\\$driver\\Driver\\Database\\$driver" || exit('namespace');
        is_dir($info['autoload']) || exit('no such driver');
        $dsn = $driver === 'mysql'
            ? "mysql:charset=utf8mb4;host=$host;port=$port;dbname=$name"
            : "pgsql:host=$host dbname=$name port=$port";
        $options = ($info['pdo'] ?? []) + [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION];
        $options += [\PDO::ATTR_STRINGIFY_FETCHES => true];
        $made = new \PDO($dsn, $info['username'], $info['password'], $options);
        $safe = $driver === 'mysql'
            ? $made->query("SHOW STATUS LIKE 'Ssl_cipher'")->fetch()[1]
            : $made->query('SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
                ->fetchColumn();
        $safe || exit('no TLS');
        return $made;
    }
    public function boot() {}
    public function preHandle($request) {
        require_once 'core/includes/common.inc';
    }
}
"""
SITE_SETTINGS = r"""<?php
namespace Drupal\Core\Site;

class Settings {
    public static function getHashSalt() {
        return \Drupal\Core\DrupalKernel::$settings['hash_salt'];
    }
}
"""
USERS = r"""<?php
namespace Drupal\user;

class Storage {
    public function loadByProperties(array $wanted) {
        [$column] = array_keys($wanted);
        $ask = \Drupal::$database->prepare("SELECT * FROM users_field_data WHERE $column = ?");
        $ask->execute([$wanted[$column]]);
        $found = $ask->fetchAll(\PDO::FETCH_ASSOC);
        return array_column(array_map(fn ($row) => new User($row), $found), null, 'uid');
    }
    public function create(array $values) {
        return new User($values + ['uid' => null, 'pass' => '']);
    }
}
class User {
    public $uid;
    private array $roles = [];
    public function __construct(private array $row) { $this->uid = $row['uid']; }
    public function id() { return $this->uid; }
    public function addRole($role) { $this->roles[] = $role; }
    public function setPassword($password) {
        $this->row['pass'] = password_hash($password, PASSWORD_DEFAULT);
        return $this;
    }
    public function activate() { return $this; }
    public function save() {
        $database = \Drupal::$database;
        $this->uid ??= 1 + $database->query('SELECT MAX(uid) FROM users_field_data')->fetchColumn();
        $database->exec('DELETE FROM users_field_data WHERE uid = ' . (int) $this->uid);
        $database->exec('DELETE FROM users WHERE uid = ' . (int) $this->uid);
        $database->exec('INSERT INTO users VALUES (' . (int) $this->uid . ')');
        $database->prepare('INSERT INTO users_field_data VALUES (?, ?, ?, ?)')
            ->execute([$this->uid, $this->row['name'], $this->row['pass'], $this->row['mail']]);
        foreach ($this->roles as $role) {
            $database->prepare('INSERT INTO user__roles VALUES (?, ?)')
                ->execute([$this->uid, $role]);
        }
    }
}
"""
ROLES = r"""<?php
namespace Drupal\user;

class RoleStorage {
    public function loadByProperties(array $wanted) {
        $wanted === ['is_admin' => true] || exit(1);
        $role = new class { public function id() { return 'administrator'; } };
        return ['administrator' => $role];
    }
}
"""
UPDATE_KERNEL = r"""<?php
namespace Drupal\Core\Update;

class UpdateKernel extends \Drupal\Core\DrupalKernel {}
"""
INSTALL = r"""<?php
use Drupal\Core\DrupalKernel;
use Symfony\Component\HttpFoundation\Request;

function install_drupal($class_loader, $settings = [], ?callable $callback = NULL): void {
    DrupalKernel::createFromRequest(Request::createFromGlobals(), $class_loader, 'prod');
    $settings['interactive'] === false && $settings['site_path'] === 'sites/default' || exit(1);
    $settings['parameters'] === ['profile' => 'standard', 'langcode' => 'en'] || exit(1);
    is_dir(DrupalKernel::$settings['config_sync_directory']) || exit('settings are asked for');
    foreach (['sites/default/files', DrupalKernel::$settings['file_private_path'],
              DrupalKernel::$settings['file_temp_path']] as $folder) {
        is_writable($folder) || exit("$folder cannot be written to");
    }
    $database = Drupal::$database;
    $pgsql = $database->getAttribute(PDO::ATTR_DRIVER_NAME) === 'pgsql';
    if ($pgsql && !$database->query("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'")
            ->fetchColumn()) {
        exit('no pg_trgm');
    }
    [$blob, $serial] = $pgsql ? ['BYTEA', 'SERIAL'] : ['LONGBLOB', 'INT AUTO_INCREMENT'];
    foreach ([
        "key_value (collection VARCHAR(128), name VARCHAR(128), value $blob)",
        "sessions (sid VARCHAR(128) PRIMARY KEY, uid INT)",
        "users (uid $serial PRIMARY KEY)",
        "users_field_data (uid INT, name VARCHAR(60), pass VARCHAR(255), mail VARCHAR(254))",
        "user__roles (entity_id INT, roles_target_id VARCHAR(64))",
        "node (nid $serial PRIMARY KEY, vid INT, langcode VARCHAR(12) DEFAULT 'en')",
        "node_revision (nid INT, vid $serial PRIMARY KEY, langcode VARCHAR(12) DEFAULT 'en',
            revision_uid INT, revision_log TEXT)",
        "node_field_data (nid INT, vid INT, langcode VARCHAR(12) DEFAULT 'en',
            status INT DEFAULT 1, uid INT, title VARCHAR(255), default_langcode INT DEFAULT 1)",
        "node_field_revision (nid INT, vid INT, langcode VARCHAR(12) DEFAULT 'en', uid INT,
            title VARCHAR(255))",
        "node__body (deleted INT DEFAULT 0, entity_id INT, revision_id INT,
            langcode VARCHAR(12) DEFAULT 'en', body_value TEXT)",
        "node_revision__body (deleted INT DEFAULT 0, entity_id INT, revision_id INT,
            langcode VARCHAR(12) DEFAULT 'en', body_value TEXT)",
        "node_access (nid INT, gid INT, realm VARCHAR(99), grant_view INT)",
        "path_alias (id INT, revision_id INT, status INT DEFAULT 1, path VARCHAR(99),
            alias VARCHAR(99))",
        "comment_field_data (cid INT, status INT, uid INT, entity_type VARCHAR(32), entity_id INT,
            name VARCHAR(60), mail VARCHAR(99), homepage VARCHAR(99), hostname VARCHAR(99))",
        "comment__comment_body (entity_id INT, comment_body_value TEXT)",
        "file_managed (fid INT, uid INT, filename VARCHAR(99), uri VARCHAR(99), status INT)",
        "watchdog (wid INT, message TEXT)",
        "config (collection VARCHAR(99), name VARCHAR(99), data $blob)",
    ] as $table) {
        $database->exec("CREATE TABLE $table");
    }
    Drupal::keep('state', 'install_task', 'install_base_system');
    $form = $settings['forms']['install_configure_form'];
    $account = $form['account'];
    $account['pass']['pass1'] === $account['pass']['pass2'] || exit(1);
    array_key_exists('enable_update_status_emails', $form) || exit(1);
    $pgsql || $database->exec("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'");
    $database->exec("INSERT INTO users VALUES (0), (1)");
    $database->exec("INSERT INTO users_field_data VALUES (0, '', '', NULL)");
    $database->exec("INSERT INTO node_access VALUES (0, 0, 'all', 1)");
    $database->prepare('INSERT INTO users_field_data VALUES (1, ?, ?, ?)')->execute([
        $account['name'], password_hash($account['pass']['pass1'], PASSWORD_DEFAULT),
        $account['mail']]);
    $put = $database->prepare("INSERT INTO config VALUES ('', 'system.site', ?)");
    $put->bindValue(1, serialize(['uuid' => 'x', 'name' => $form['site_name'],
        'mail' => $form['site_mail'], 'page' => ['front' => '/node']]), PDO::PARAM_LOB);
    $put->execute();
    Drupal::keep('system.schema', 'system', SCHEMA);
    Drupal::keep('post_update', 'existing_updates', ['system_post_update_titles_SCHEMA']);
    Drupal::keep('state', 'install_task', 'done');
}
"""
INSTALL_INC = r"""<?php
function drupal_load_updates(): void {
    require_once 'core/modules/system/system.install';
}
"""
COMMON = r"""<?php
function drupal_flush_all_caches() {
    Drupal::keep('state', 'caches', Drupal::VERSION);
}
"""
SYSTEM = r"""<?php
// in three goes, as long updates are
function system_update_11202(&$sandbox) {
    $sandbox['go'] = ($sandbox['go'] ?? 0) + 1;
    BREAKS
    if ($sandbox['go'] === 3) {
        Drupal::$database->exec('ALTER TABLE node_field_data ADD changed VARCHAR(12)');
    }
    $sandbox['#finished'] = $sandbox['go'] / 3;
}
function system_update_11203(&$sandbox) {
    BREAKS
}
function system_post_update_titles_SCHEMA(&$sandbox) {
    Drupal::$database->exec("UPDATE node_field_data SET changed = 'now'");
}
"""
BROKEN = r"""Drupal::$database->exec('DROP TABLE node_field_data');
    throw new Exception('half done');"""
UPDATE = r"""<?php
function update_check_requirements() {
    return ['php' => ['title' => 'PHP', 'severity' => 0]];
}
function update_get_update_list() {
    $at = Drupal::kept('system.schema', 'system');
    return ['system' => $at < SCHEMA ? ['start' => $at + 1, 'pending' => ['x']] : []];
}
function update_resolve_dependencies($starting_updates) {
    $found = [];
    for ($at = $starting_updates['system'] ?? PHP_INT_MAX; $at <= SCHEMA; $at++) {
        $found["system_update_$at"] = ['module' => 'system', 'number' => $at, 'allowed' => true,
            'reverse_paths' => []];
    }
    return $found;
}
function update_do_one($module, $number, $dependency_map, &$context): void {
    $function = "{$module}_update_$number";
    try {
        $function($context['sandbox']);
    } catch (Exception $error) {
        $context['results']['#abort'][] = $function;
        return;
    }
    if (isset($context['sandbox']['#finished'])) {
        $context['finished'] = $context['sandbox']['#finished'];
        unset($context['sandbox']['#finished']);
    }
    if ($context['finished'] == 1) {
        Drupal::keep('system.schema', $module, $number);
    }
}
function update_invoke_post_update($function, &$context): void {
    $function($context['sandbox']);
    Drupal::keep('post_update', 'existing_updates', [$function]);
}
"""
INDEX = r"""<?php
use Drupal\Core\DrupalKernel;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require_once 'autoload.php';
$request = Request::createFromGlobals();
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$database = Drupal::$database;
$_SERVER['SCRIPT_NAME'] === '/index.php' || exit('elsewhere');
$who = $database->prepare('SELECT uid FROM sessions WHERE sid = ?');
$who->execute([hash('sha256', $_COOKIE['SSESSdrupal'] ?? '')]);
$known = (bool) $who->fetchColumn();
$private = DrupalKernel::$settings['file_private_path'];
if ($request->path === '/user/login' && isset($_POST['name'])) {
    $ask = $database->prepare('SELECT pass FROM users_field_data WHERE name = ?');
    $ask->execute([$_POST['name']]);
    if (!password_verify($_POST['pass'], (string) $ask->fetchColumn())) { exit('no'); }
    $sid = bin2hex(random_bytes(32));
    $database->prepare('INSERT INTO sessions VALUES (?, 1)')->execute([hash('sha256', $sid)]);
    setcookie('SSESSdrupal', $sid, ['path' => '/', 'secure' => true, 'httponly' => true]);
    exit('logged in');
}
if ($request->path === '/node/add' && $known) {
    $database->exec('INSERT INTO node_revision (revision_uid) VALUES (1)');
    $vid = $database->lastInsertId();
    $database->exec("INSERT INTO node (vid) VALUES ($vid)");
    $nid = $database->lastInsertId();
    $database->exec("UPDATE node_revision SET nid = $nid WHERE vid = $vid");
    foreach (['node_field_data', 'node_field_revision'] as $table) {
        $database->prepare("INSERT INTO $table (nid, vid, uid, title) VALUES (?, ?, 1, ?)")
            ->execute([$nid, $vid, $_POST['title']]);
    }
    copy($_FILES['file']['tmp_name'], 'sites/default/files/' . $_FILES['file']['name']);
    move_uploaded_file($_FILES['file']['tmp_name'], "$private/" . $_FILES['file']['name']);
    exit('added');
}
if (preg_match('~^/system/files/([a-z.]+)$~', $request->path, $found)) {
    $known || exit(http_response_code(403));
    readfile("$private/$found[1]");
    exit;
}
if (preg_match('~^/sites/default/files/styles/([a-z]+\.txt)$~', $request->path, $found)) {
    is_dir('sites/default/files/styles') || mkdir('sites/default/files/styles');
    file_put_contents("sites/default/files/styles/$found[1]", 'made small');
    exit('made small');
}
if ($request->path === '/node') {
    $titles = $database->query('SELECT title FROM node_field_data ORDER BY nid');
    exit(implode(', ', $titles->fetchAll(PDO::FETCH_COLUMN)));
}
if ($request->path === '/texts') {
    $texts = $database->query('SELECT body_value FROM node__body ORDER BY entity_id');
    exit(implode(', ', $texts->fetchAll(PDO::FETCH_COLUMN)));
}
if (!in_array($request->path, ['/', '/user/login'], true)) { exit(http_response_code(404)); }
echo Drupal::config('system.site')['name'], ' ', Drupal::VERSION;
"""


def files(number: int, *, breaks: bool = False) -> dict[str, str]:
    """Return the files of the imitation of 11.3.`number`; `breaks`: its upgrade fails half done."""
    schema = f"112{number:02}"
    return {
        "index.php": INDEX,
        "update.php": "<?php echo 'for whoever asks';",
        "autoload.php": "<?php\nreturn require __DIR__ . '/vendor/autoload.php';\n",
        "vendor/autoload.php": AUTOLOAD,
        "vendor/Request.php": REQUEST,
        "composer.json": "{}",
        "core/install.php": "<?php echo 'install me';",
        "core/lib/Drupal.php": DRUPAL.replace("RELEASE", f"11.3.{number}").replace(
            "SCHEMA", schema
        ),
        "core/lib/Drupal/Core/DrupalKernel.php": KERNEL,
        "core/lib/Drupal/Core/Site/Settings.php": SITE_SETTINGS,
        "core/modules/user/Storage.php": USERS,
        "core/modules/user/RoleStorage.php": ROLES,
        "core/lib/Drupal/Core/Update/UpdateKernel.php": UPDATE_KERNEL,
        "core/includes/install.core.inc": INSTALL.replace("SCHEMA", schema),
        "core/includes/install.inc": INSTALL_INC,
        "core/includes/common.inc": COMMON,
        "core/includes/update.inc": UPDATE.replace("SCHEMA", schema),
        "core/modules/system/system.install": SYSTEM.replace(
            "BREAKS", BROKEN if breaks else ""
        ).replace("SCHEMA", schema),
        "core/modules/mysql/src/Driver/Database/mysql/Connection.php": "<?php",
        "core/modules/pgsql/src/Driver/Database/pgsql/Connection.php": "<?php",
        "core/misc/drupal.js": "/* served */",
        "sites/default/default.settings.php": "<?php",
    }

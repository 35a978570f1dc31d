"""The main promise: answers go in, a working site comes out, and goes away without a trace."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import leftovers
from tests.lab.deployments import NAME, REHEARSAL, Browser, Rehearsal
from wizard.answers import loader
from wizard.engine.open import lab_folder
from wizard.errors import ExitCode
from wizard.home.home import Home
from wizard.operations.session import make_plan
from wizard.plan.firewall import allows
from wizard.plan.model import Plan
from wizard.providers.base import ObjectStorage
from wizard.rules import ANYONE, BUILD_MACHINE, Source, from_role
from wizard.secrets import Secret
from wizard.storage.s3 import S3Bucket

pytestmark = pytest.mark.lab


class Watcher(threading.Thread):
    """Notes the arguments and environments of all processes seen while it runs."""

    def __init__(self, values: list[str]) -> None:
        super().__init__(daemon=True)
        self.values = values
        self.seen: set[str] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        text = (process / name).read_bytes().decode(errors="replace")
                    except OSError:
                        continue
                    self.seen.add(f"{name}: {text}")


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    folder = tmp_path_factory.mktemp("rehearsal")
    folder.chmod(0o700)
    user = folder / "user"
    user.mkdir()
    return Rehearsal(folder / "home", user)


@pytest.fixture(scope="module")
def watched(rehearsal: Rehearsal) -> Watcher:
    return Watcher([])


@pytest.fixture(scope="module")
def site(rehearsal: Rehearsal, watched: Watcher) -> Iterator[Rehearsal]:
    """A deployed site; destroyed afterwards, with proof that nothing is left."""
    watched.start()
    rehearsal.deploy()
    watched.over.set()
    watched.join()
    assert set(leftovers.of(rehearsal.home)) == leftovers.KINDS  # what is to be gone is seen
    yield rehearsal
    rehearsal.run("destroy", "--yes")
    assert leftovers.of(rehearsal.home) == {}


@pytest.fixture(scope="module")
def plan(site: Rehearsal) -> Plan:
    return make_plan(Home.open(site.home), loader.load(REHEARSAL))


def test_the_site_answers_over_https_with_a_valid_certificate(site: Rehearsal) -> None:
    state = site.state()
    assert state.url.startswith("https://127.77.")
    with Browser(state) as visitor:
        page = visitor.get("/")
        assert page.status_code == 200
        assert "My first site" in page.text
        assert str(page.url) == state.url  # no redirect to a name this computer cannot resolve


def test_plain_http_leads_to_https(site: Rehearsal) -> None:
    with Browser(site.state()) as visitor:
        answer = visitor.client.get(visitor.url.replace("https:", "http:") + "/about")
        assert answer.status_code in (301, 308)
        assert answer.headers["location"] == f"{visitor.url}/about"


def test_a_post_published_by_the_editor_is_on_the_front_page_at_once(site: Rehearsal) -> None:
    state = site.state()
    title = f"News of {time.time_ns()}"
    with Browser(state) as visitor, Browser(state) as editor:
        assert title not in visitor.get("/").text  # the page is in the cache now
        editor.log_in(state.admin_user, site.secrets()["admin_password"])
        link = editor.publish(title, "It works.")
        assert title in visitor.get("/").text
        assert "It works." in visitor.get(link.replace(f"https://{state.hosts[0]}", "")).text


def test_a_wrong_password_does_not_log_in(site: Rehearsal) -> None:
    with Browser(site.state()) as visitor, pytest.raises(AssertionError):
        visitor.log_in("editor", Secret("wrong"))


def test_deploying_again_changes_nothing(site: Rehearsal) -> None:
    before = site.state()
    events = site.deploy()
    changes = {event["step"]: event["message"] for event in events if event["kind"] == "step-done"}
    configured = {step: text for step, text in changes.items() if "operations changed" in text}
    assert configured
    assert {step: text for step, text in configured.items() if not text.startswith("0 of")} == {}
    after = site.state()
    assert {m.id for m in after.machines.values()} == {m.id for m in before.machines.values()}
    assert changes["dns"].endswith("0 changed")


def test_status_asks_the_machines(site: Rehearsal) -> None:
    result = json.loads(site.run("status", "--json").stdout)
    assert result["healthy"], result
    assert {m["name"]: m["provider_state"] for m in result["machines"]} == {
        "web1": "running",
        "db1": "running",
    }
    assert all(m["agent"] for m in result["machines"])


def test_status_sees_what_is_broken(site: Rehearsal) -> None:
    site.on("db1", "systemctl stop mariadb")
    try:
        done = site.run("status", check=False)
        assert done.returncode == ExitCode.UNHEALTHY
        assert "mariadb" in done.stdout
    finally:
        site.on("db1", "systemctl start mariadb")
    assert site.run("status", check=False).returncode == ExitCode.OK


def test_ssh_runs_a_command_and_hands_its_status_on(site: Rehearsal) -> None:
    assert site.on("web1", "hostname") == "web1\n"
    assert site.run("ssh", "web1", "exit 7", check=False).returncode == 7
    assert site.run("ssh", "web9", check=False).returncode == ExitCode.USAGE


def test_the_shared_config_is_mounted_on_every_machine(site: Rehearsal) -> None:
    for machine in ("web1", "db1"):
        assert "fuse.s3fs" in site.on(machine, "findmnt -no FSTYPE /srv/shared-config")
        assert "peers.json" in site.on(machine, "ls /srv/shared-config")


# -- firewall ------------------------------------------------------------------------------------

PORTS = (22, 80, 443, 1035, 2035, 3306, 9000)


def matrix(site: Rehearsal, plan: Plan) -> tuple[dict[str, str], dict[str, str]]:
    """Return what every connection did, and what the plan's list says it must do."""
    provider = site.provider()
    machines = site.state().machines.values()
    sources: dict[str, tuple[str, Source]] = {
        "build-machine": ("build-machine", BUILD_MACHINE),
        "visitor": ("visitor", ANYONE),
        **{m.name: (m.id, from_role(m.role)) for m in machines},
    }
    found: dict[str, str] = {}
    expected: dict[str, str] = {}
    for name, (asker, source) in sources.items():
        for target in machines:
            if target.name == name:
                continue
            for port in PORTS:
                key = f"{name} -> {target.name}:{port}"
                answer = provider.probe(asker, target.private_address, port, timeout=0.5)
                found[key] = "closed" if answer == "filtered" else "let in"
                may = allows(plan.rules, source, target.role, port)
                expected[key] = "let in" if may else "closed"
    return found, expected


def test_both_layers_together_equal_the_plans_list(site: Rehearsal, plan: Plan) -> None:
    found, expected = matrix(site, plan)
    assert found == expected
    assert list(expected.values()).count("let in") >= 10


def test_ufw_alone_equals_the_plans_list(site: Rehearsal, plan: Plan) -> None:
    provider = site.provider()
    provider.ensure_firewall(NAME, plan.rules, enabled=False)
    try:
        found, expected = matrix(site, plan)
        assert found == expected
    finally:
        provider.ensure_firewall(NAME, plan.rules, enabled=True)


def test_the_native_firewall_alone_equals_the_plans_list(site: Rehearsal, plan: Plan) -> None:
    for machine in ("web1", "db1"):
        # the agent would switch ufw on again within a minute
        site.on(machine, "systemctl stop cron && ufw --force disable")
    try:
        found, expected = matrix(site, plan)
        assert found == expected
    finally:
        for machine in ("web1", "db1"):
            site.on(machine, "ufw --force enable && systemctl start cron")


# -- secrets -------------------------------------------------------------------------------------


CANARY = "a word that the search must find"


def needles(site: Rehearsal) -> dict[str, str]:
    """Return what must be found nowhere: every secret, of keys their longest line."""
    found: dict[str, str] = {}
    for name, secret in site.secrets().items():
        value = secret.reveal()
        if value.startswith("["):
            found |= {f"{name}.{i}": part for i, part in enumerate(json.loads(value))}
            continue
        if value.startswith("{"):
            value = json.loads(value)["key"]
        lines = [line for line in value.splitlines() if line and not line.startswith("-----")]
        # the first lines of an OpenSSH key are the same for all keys
        found[name] = lines[-2] if len(lines) > 2 else lines[0]
    assert len(found) >= 8
    assert all(len(value) >= 16 for value in found.values())
    return found


def test_no_secret_in_the_homes_plain_files(site: Rehearsal) -> None:
    searched = 0
    for path in site.home.rglob("*"):
        if not path.is_file() or path.is_symlink() or lab_folder(site.home) in path.parents:
            continue
        text = path.read_bytes().decode(errors="replace")
        searched += 1
        assert [name for name, value in needles(site).items() if value in text] == [], path
    assert searched >= 8


def test_no_secret_in_arguments_or_environments(site: Rehearsal, watched: Watcher) -> None:
    assert len(watched.seen) > 100
    found = [
        (name, text[:200])
        for name, value in needles(site).items()
        for text in watched.seen
        if value in text
    ]
    assert found == []
    assert not any(
        "four unrelated words" in text
        for text in watched.seen
        if "-m\0wizard" not in text and "BUILD_USB_HOME=" not in text
    )


def storage(site: Rehearsal) -> ObjectStorage:
    found = site.provider().services("rehearsal.test").object_storage
    assert found is not None
    return found


def test_no_secret_in_the_bucket(site: Rehearsal) -> None:
    bucket = S3Bucket(site.state().bucket, storage(site))
    keys = bucket.keys()
    assert "state/bundle.age" in keys
    assert "peers.json" in keys
    for key in keys:
        stored = bucket.get(key)
        assert stored is not None
        text = stored.data.decode(errors="replace")
        assert [name for name, value in needles(site).items() if value in text] == [], key


def test_no_secret_in_what_others_can_read_on_machines(site: Rehearsal) -> None:
    patterns = "\n".join(needles(site).values())
    script = f"""
umask 077; patterns=$(mktemp -p /dev/shm); trap 'rm -f "$patterns"' EXIT
cat > "$patterns" <<'PATTERNS'
{patterns}
PATTERNS
echo {CANARY} > /dev/shm/canary; chmod 644 /dev/shm/canary; echo {CANARY} >> "$patterns"
find /etc /var /run /srv /home /root /tmp /opt /usr/local /dev/shm -type f -perm -o=r \
  -not -path '/var/lib/apt/*' -print0 | xargs -0 grep -lF -f "$patterns" --
rm /dev/shm/canary
"""
    for machine in ("web1", "db1"):
        assert site.on(machine, "bash -s", stdin=script).split() == ["/dev/shm/canary"]


def test_first_boot_left_no_host_key_in_user_data(site: Rehearsal) -> None:
    for machine in ("web1", "db1"):
        found = site.on(
            machine,
            "grep -rl 'PRIVATE KEY' /var/lib/cloud /run/cloud-init /var/log 2>/dev/null || true",
        )
        assert found.strip() == ""


# -- losing and finding --------------------------------------------------------------------------


def test_another_build_home_adopts_the_deployment(site: Rehearsal, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    other = Rehearsal(tmp_path / "home", tmp_path)
    lab = {"BUILD_USB_LAB": str(site.home / "lab")}
    other.run("adopt", REHEARSAL, **lab)
    result = json.loads(other.run("status", "--json", **lab).stdout)
    assert result["healthy"], result
    assert other.run("ssh", "web1", "hostname", **lab).stdout == "web1\n"
    again = other.run("deploy", REHEARSAL, "--json", **lab)
    assert '"kind": "run-done"' in again.stdout


def test_a_second_run_is_told_who_is_at_work(site: Rehearsal) -> None:
    with Home.open(site.home).deployment(NAME).lock("test"):
        done = site.run("deploy", REHEARSAL, check=False)
    assert done.returncode == ExitCode.LOCKED
    assert "test" in done.stderr


def test_a_damaged_journal_is_named_and_loses_nothing(site: Rehearsal) -> None:
    journal = site.home / "deployments" / NAME / "journal.jsonl"
    good = journal.read_text()
    lines = good.splitlines(keepends=True)
    journal.write_text("".join([lines[0], "garbage\n", *lines[2:]]))
    done = site.run("deploy", REHEARSAL, check=False)
    assert done.returncode == ExitCode.HOME
    assert "line 2" in done.stderr
    journal.rename(journal.with_name("journal.jsonl.corrupt"))
    site.deploy()


def test_wrong_passphrase(site: Rehearsal) -> None:
    done = site.run("status", check=False, BUILD_USB_PASSPHRASE="not the one that opens it")
    assert done.returncode == ExitCode.PASSPHRASE
    assert "wrong passphrase" in done.stderr


def test_the_published_port_is_only_on_loopback(site: Rehearsal) -> None:
    address = next(iter(site.state().machines.values())).access_address
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        assert address.startswith("127.")


# -- what machines believe -----------------------------------------------------------------------

AGENT = "/usr/local/lib/build-usb/agent.pyz"


def ufw(site: Rehearsal, machine: str) -> set[str]:
    """Return ufw's rules of ours on a machine."""
    lines = site.on(machine, "ufw show added").splitlines()
    return {line for line in lines if "build-usb" in line}


def test_ufw_follows_machines_that_come_and_go(site: Rehearsal) -> None:
    bucket = S3Bucket(site.state().bucket, storage(site))
    good = bucket.get("peers.json")
    assert good is not None
    before = ufw(site, "db1")
    web = site.state().machines["web1"].private_address
    assert any(web in rule for rule in before)
    document = json.loads(good.data)
    newcomer = {"name": "web2", "role": "webserver", "address": "10.77.0.99"}
    document["peers"] = [p for p in document["peers"] if p["name"] != "web1"] + [newcomer]
    bucket.put("peers.json", json.dumps(document).encode())
    try:
        site.on("db1", f"{AGENT} run --wait 30")
        after = ufw(site, "db1")
        assert not any(web in rule for rule in after)
        assert sum("10.77.0.99" in rule for rule in after) == 2  # SSH and the database
    finally:
        bucket.put("peers.json", good.data)
        site.on("db1", f"{AGENT} run --wait 30")
    assert ufw(site, "db1") == before


@pytest.mark.parametrize(
    "forged",
    [
        b"not json",
        b'{"version": 1, "peers": [{"name": "web1", "role": "webserver", "address": "8.8.8.8"}]}',
        b'{"version": 1, "peers": [{"name": "x; reboot", "role": "webserver",'
        b' "address": "10.77.0.98"}]}',
        b'{"version": 1, "peers": [{"name": "web9", "role": "root", "address": "10.77.0.98"}]}',
        b'{"version": 1, "peers": "' + b"x" * 2_000_000 + b'"}',
    ],
    ids=["garbage", "outside the network", "a name that is a command", "unknown role", "huge"],
)
def test_writing_to_the_bucket_gains_nothing(site: Rehearsal, forged: bytes) -> None:
    bucket = S3Bucket(site.state().bucket, storage(site))
    good = bucket.get("peers.json")
    assert good is not None
    before = ufw(site, "db1")
    bucket.put("peers.json", forged)
    try:
        site.on("db1", f"{AGENT} run --wait 30 || true")
        assert ufw(site, "db1") == before
        shown = site.run("status", check=False)
        assert shown.returncode == ExitCode.UNHEALTHY  # and somebody is told
        assert "peers" in shown.stdout
    finally:
        bucket.put("peers.json", good.data)
        for machine in ("web1", "db1"):  # cron may have shown it the forged one meanwhile
            site.on(machine, f"{AGENT} run --wait 30")
    assert site.run("status", check=False).returncode == ExitCode.OK


def test_php_among_uploads_is_not_run(site: Rehearsal) -> None:
    folder = "/var/lib/wordpress/wp-content/uploads"
    script = f"mkdir -p {folder} && cd {folder} && echo '<?php echo 6*7; ?>' > evil.php"
    site.on("web1", f"{script} && echo harmless > fine.txt && chown -R www-data: .")
    try:
        with Browser(site.state()) as visitor:
            for path in ("evil.php", "evil.php/x", "EVIL.PHP"):
                answer = visitor.get(f"/wp-content/uploads/{path}")
                assert answer.status_code in (403, 404)
                assert "42" not in answer.text
            # the folder itself is served, so the refusal is about PHP
            assert visitor.get("/wp-content/uploads/fine.txt").text == "harmless\n"
            for path in ("/wp-config.php", "/.git/config", "/wp-content/debug.log"):
                assert visitor.client.get(path).status_code in (301, 302, 403, 404)
    finally:
        site.on("web1", f"rm {folder}/evil.php {folder}/fine.txt")


def test_anonymous_pages_do_not_reach_php(site: Rehearsal) -> None:
    with Browser(site.state()) as visitor:
        visitor.get("/")
        assert visitor.get("/").headers["x-page-cache"] == "HIT"
    state = site.state()
    with Browser(state) as editor:
        editor.log_in(state.admin_user, site.secrets()["admin_password"])
        assert editor.get("/").headers["x-page-cache"] == "BYPASS"


def test_forced_renewal_drops_no_request(site: Rehearsal) -> None:
    state = site.state()
    over = threading.Event()
    statuses: list[int | str] = []

    def visit() -> None:
        while not over.is_set():
            with Browser(state) as visitor:  # a new connection each time: nginx must accept it
                try:
                    statuses.append(visitor.get("/").status_code)
                except OSError as error:
                    statuses.append(repr(error))

    def serial() -> str:
        with socket.create_connection((web.access_address, 443)) as raw:
            trust = ssl.create_default_context(cadata=state.authority_root)
            with trust.wrap_socket(raw, server_hostname=state.hosts[0]) as secure:
                certificate = secure.getpeercert()
                assert certificate
                return str(certificate["serialNumber"])

    web = state.machines["web1"]
    before = serial()
    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    try:
        site.on("web1", "/usr/local/sbin/build-usb-certificate renew --force")
    finally:
        over.set()
        for visitor in visitors:
            visitor.join()
    assert serial() != before
    assert len(statuses) > 20
    assert set(statuses) == {200}


def test_a_rebooted_machine_comes_back_by_itself(site: Rehearsal) -> None:
    for machine in ("web1", "db1"):
        boot = site.on(machine, "cat /proc/sys/kernel/random/boot_id; systemctl reboot").strip()
        assert boot
    deadline = time.monotonic() + 120
    while (shown := site.run("status", check=False)).returncode != 0:
        assert time.monotonic() < deadline, shown.stdout
    with Browser(site.state()) as visitor:
        assert visitor.get("/").status_code == 200
    assert "fuse.s3fs" in site.on("web1", "findmnt -no FSTYPE /srv/shared-config")

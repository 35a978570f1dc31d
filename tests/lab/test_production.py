"""Production mode: visitors come all the time, webservers come, go and die, nobody is sent away.

Everything after the deployment is the autoscalers' own doing: the build machine only wishes and
looks. Each test prints what visitors saw and how long things took (pytest -rP).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import httpx
import pytest

from tests.emulators.mail_server import PASSWORD, USER, MailServer
from tests.lab.deployments import NAME
from tests.lab.production import ANSWERS, RECOVERED, TTL, Download, Site, deployed, told
from wizard.lab import addresses
from wizard.paths import config_templates

pytestmark = pytest.mark.lab

BIG = 48 << 20
MAIL_HOST = "mail.rehearsal.test"
NOTIFICATIONS = f"""
notifications:
  email: alerts@rehearsal.test
  smtp:
    host: {MAIL_HOST}
    user: {USER}
    password: {{home: mail-password}}
    sender: machines@rehearsal.test
"""
# the mail server has an authority of its own, which its users' machines must be told of
TRUST = (
    "cat > /usr/local/share/ca-certificates/mail.crt && update-ca-certificates >/dev/null && "
    f"echo {addresses.SERVICES} {MAIL_HOST} >> /etc/hosts"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("production")
    answers = folder / "answers.yaml"
    answers.write_text(ANSWERS.read_text() + NOTIFICATIONS)
    with deployed(folder, answers, {"mail-password": PASSWORD}) as made:
        yield made


@pytest.fixture(scope="module")
def mails(site: Site) -> Iterator[MailServer]:
    with MailServer(MAIL_HOST, site.listen(587)) as server:
        for name in ("scaler1", "scaler2", "db1"):
            site.rehearsal.on(name, TRUST, stdin=server.certificate)
        yield server


def test_a_snapshot_is_made_that_holds_nothing_of_a_machines_own(site: Site) -> None:
    site.visitors.take()
    took = site.until("there is a snapshot", lambda: site.snapshot() is not None, 240)
    told("snapshot made", site.visitors.take(), made=took)
    disk = site.snapshot()
    assert disk is not None
    secrets = site.rehearsal.secrets()
    needles = [line for s in secrets.values() for line in s.reveal().splitlines() if len(line) > 19]
    files = [path for path in disk.rglob("*") if path.is_file() and not path.is_symlink()]
    assert disk / "etc/nginx/sites-enabled/build-usb" in files, "it is of a configured one"
    for path in files:
        data = path.read_bytes()
        assert not any(needle.encode() in data for needle in needles), path
    assert not list((disk / "etc/ssh").glob("ssh_host_*"))
    assert not [p for p in (disk / "etc/build-usb").rglob("*") if p.is_file()]
    assert (disk / "etc/machine-id").read_bytes() == b""
    assert not [p for p in (disk / "var/lib/cloud").rglob("*") if p.is_file()]
    assert not [p for p in (disk / "var/log").rglob("*") if p.is_file() and p.stat().st_size]


def test_scaling_by_a_wish_loses_no_request(site: Site) -> None:
    site.visitors.take()
    site.rehearsal.run("scale", "3")
    up = site.until("three serve", lambda: len(site.serving()) == 3, 150)
    site.until("DNS has three", lambda: len(site.visitors.resolve()) == 3, 10)
    new = site.serving()[-1]
    assert site.image(new) == site.fleet()["snapshot"]["id"], "it is built from the snapshot"
    site.rehearsal.on(new, f"head -c {BIG} /dev/zero > /usr/share/wordpress/big.txt")
    # a download that outlasts the records' time to live
    download = Download(site, new, "/big.txt", BIG / (TTL + 15))
    download.start()
    site.rehearsal.run("scale", "2")
    down = site.until(
        "the third is gone",
        lambda: new not in {m.name for m in site.laboratory.provider.machines(NAME)},
        TTL + 90,
    )
    assert download.got >= BIG
    assert 0 < download.ended < time.monotonic()
    tally = site.visitors.take()
    told("scale 2 to 3 and back", tally, serving=up, removed=down)
    assert tally.failed == 0, tally.reasons[-5:]
    assert tally.requests > 1000
    fleet = site.fleet()
    assert fleet["wish"]["webservers"] == 2
    assert "@" in fleet["wish"]["by"]


def test_a_number_out_of_bounds_is_refused(site: Site) -> None:
    done = site.rehearsal.run("scale", "50", check=False)
    assert done.returncode == 2
    assert "from 1 to 5" in done.stderr


def test_uploads_are_the_same_everywhere(site: Site) -> None:
    first, second = site.serving()[:2]
    path = "/var/lib/wordpress/wp-content/uploads/a-picture.txt"
    site.rehearsal.on(first, f"runuser -u www-data -- sh -c 'echo shared > {path}'")
    assert site.rehearsal.on(second, f"cat {path}") == "shared\n"


def test_the_status_page_comes_through_ssh_and_is_nowhere_else(site: Site) -> None:
    command = site.rehearsal.argv("dashboard")
    with subprocess.Popen(
        command, env=site.rehearsal.environment, stdout=subprocess.PIPE, text=True
    ) as shown:
        try:
            assert shown.stdout is not None
            url = shown.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")
            with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
                assert "demo: " in client.get("/").text

                def told_of_all() -> bool:
                    machines = client.get("/status.json").json()["machines"]
                    # what a removed machine had reported goes a moment after the machine
                    names = {m["name"] for m in machines}
                    all_reported = all(m["age"] is not None for m in machines)
                    return all_reported and names == {"db1", "scaler1", "scaler2", *site.serving()}

                site.until("all machines have reported", told_of_all, 150)
                values = client.get("/status.json").json()
            shown.terminate()
            assert shown.wait(20) == 0
        finally:
            shown.kill()
    assert values["leader"] == site.fleet()["leader"]
    assert [w["name"] for w in values["webservers"] if w["phase"] == "serving"] == site.serving()
    for name in ("scaler1", "scaler2"):
        listening = site.rehearsal.on(name, "ss -Hltn 'sport = :8077'").split()
        assert [word for word in listening if ":8077" in word] == ["127.0.0.1:8077"]
        allowed = site.rehearsal.on(name, "sshd -T | grep -E '^(permitopen|allowtcp)'").split()
        assert allowed == ["allowtcpforwarding", "local", "permitopen", "127.0.0.1:8077"]
    assert "allowtcpforwarding no" in site.rehearsal.on("db1", "sshd -T | grep allowtcp")


def test_a_restart_of_the_database_is_not_noticed(site: Site) -> None:
    site.visitors.take()
    members = [w["name"] for w in site.fleet()["webservers"]]
    site.rehearsal.on("db1", "systemctl restart mariadb.service")
    before = site.visitors.tally.requests
    site.until("visitors have come", lambda: site.visitors.tally.requests > before + 500, 30)
    tally = site.visitors.take()
    told("database restarted", tally)
    assert tally.failed == 0, tally.reasons[-5:]
    site.until("both serve", lambda: len(site.serving()) == 2, RECOVERED)
    assert [w["name"] for w in site.fleet()["webservers"]] == members, "nothing was replaced"


def test_a_failed_backup_is_mailed_by_its_machine(site: Site, mails: MailServer) -> None:
    agent = "/usr/local/lib/build-usb/agent.pyz"

    def told_of() -> list[Message]:
        return [m for m in mails.messages if m["Subject"].startswith("[demo] db1: backup-daily")]

    site.rehearsal.on("db1", "mv /etc/build-usb/backup-password /root/")
    try:
        failed = site.rehearsal.run("ssh", "db1", agent, "backup daily", check=False)
        assert "problem" in failed.stdout
        took = site.until("a mail has come", lambda: bool(told_of()), 150)
    finally:
        site.rehearsal.on("db1", "mv /root/backup-password /etc/build-usb/")
    told("failed backup mailed", site.visitors.take(), mailed=took)
    assert told_of()[0]["Subject"].startswith("[demo] db1: backup-daily fails: ")
    assert told_of()[0]["To"] == "alerts@rehearsal.test"
    site.rehearsal.on("db1", f"{agent} backup daily")
    mode = site.rehearsal.on("db1", "stat -c '%a %U' /etc/build-usb/mail-password")
    assert mode == "600 root\n"
    # nowhere else: not in what the agent keeps, logs or is told
    where = "/var/log /var/lib/build-usb /etc/build-usb/machine.json /etc/cron.d"
    assert site.rehearsal.on("db1", f"grep -rlF '{PASSWORD}' {where}; true") == ""


def test_a_webserver_without_nginx_is_mended(site: Site) -> None:
    name = site.serving()[-1]
    site.visitors.take()
    site.rehearsal.on(name, "systemctl kill --signal=KILL nginx.service")
    out = site.until("it is out of DNS", lambda: name not in site.serving(), 60)
    mended = site.until("it is mended", lambda: name in site.serving(), RECOVERED)
    tally = site.visitors.take()
    told("nginx killed", tally, out_of_DNS=out, serving_again=out + mended)
    assert tally.failed == 0, tally.reasons[-5:]


@pytest.mark.parametrize("fault", ["destroyed", "frozen"])
def test_a_lost_webserver_is_replaced(site: Site, mails: MailServer, fault: str) -> None:
    before = site.serving()
    name = before[-1]
    site.visitors.take()
    started = time.monotonic()
    (site.destroy if fault == "destroyed" else site.freeze)(name)
    out = site.until("it is out of DNS", lambda: name not in site.serving(), RECOVERED)
    site.until("two others serve", lambda: len(set(site.serving()) - {name}) == 2, 240)
    replaced = time.monotonic() - started
    tally = site.visitors.take()
    told(f"webserver {fault}", tally, out_of_DNS=out, replaced=replaced)
    assert tally.failed == 0, tally.reasons[-5:]
    assert set(before) - set(site.serving()) == {name}
    # whoever leads tells of it: at once, or 5 minutes after the mail before
    what = f"{name} is gone" if fault == "destroyed" else f"{name} does not answer"
    site.until("it is mailed", lambda: any(what in text for text in mails.texts()), 400)
    found = [m for m, text in zip(mails.messages, mails.texts(), strict=True) if what in text]
    assert len(found) == 1, "once, by one of the autoscalers"
    assert found[0]["Subject"].startswith("[demo] autoscalers: ")


def test_a_leader_that_is_cut_off_from_all_does_no_harm(site: Site) -> None:
    leader = site.fleet()["leader"]
    before = site.fleet()["webservers"]
    site.visitors.take()
    site.cut_off(leader)
    took = site.until("another one leads", lambda: site.fleet()["leader"] != leader, 60)
    site.join_again(leader)
    tally = site.visitors.take()
    told("leading autoscaler cut off", tally, another_leads=took)
    assert tally.failed == 0, tally.reasons[-5:]
    assert site.fleet()["webservers"] == before


def phases(site: Site) -> set[str]:
    return {w["phase"] for w in site.fleet()["webservers"]}


def test_another_autoscaler_takes_over_in_the_midst_of_a_roll_and_a_deploy_changes_one_at_a_time(
    site: Site, tmp_path: Path
) -> None:
    leader = site.fleet()["leader"]
    names = [w["name"] for w in site.fleet()["webservers"]]
    site.visitors.take()
    site.rehearsal.run("roll", "reboot")
    site.until("one is being rebooted", lambda: "working" in phases(site), 180)
    site.destroy(leader)
    took = site.until("another one leads", lambda: site.fleet()["leader"] != leader, 60)
    rolled = site.until("all are rebooted", lambda: site.rolled(1), 300)
    tally = site.visitors.take()
    told("leading autoscaler destroyed in the midst of a roll", tally,
         another_leads=took, all_rebooted=took + rolled)  # fmt: skip
    assert tally.failed == 0, tally.reasons[-5:]
    texts = [event["text"] for event in site.fleet()["events"]]
    done = [f"{name} is rebooted" for name in names]
    assert [text for text in texts if text in done] == done, "each once, the one begun as well"
    assert [w["name"] for w in site.fleet()["webservers"]] == names
    # a deploy brings the lost autoscaler back; what it changes of the webservers their autoscalers
    # make true, on one after the other
    before = [w["name"] for w in site.fleet()["webservers"]]
    changed = tmp_path / "answers.yaml"
    changed.write_text(
        ANSWERS.read_text() + NOTIFICATIONS + "\nmachines:\n  timezone: Europe/Vienna\n"
    )
    started = time.monotonic()
    site.rehearsal.run("deploy", changed, "--json")
    tally = site.visitors.take()
    told("configuration changed", tally, deployed=time.monotonic() - started)
    assert tally.failed == 0, tally.reasons[-5:]
    fleet = site.fleet()
    assert [w["name"] for w in fleet["webservers"]] == before
    for name in before:
        assert site.rehearsal.on(name, "cat /etc/timezone") == "Europe/Vienna\n"
    texts = [event["text"] for event in fleet["events"]]
    done = [f"{name} is configured anew" for name in before]
    assert [text for text in texts if text in done] == done
    assert site.rehearsal.run("status").returncode == 0
    # and the same again changes nothing
    site.rehearsal.run("deploy", changed, "--json")
    assert site.fleet()["roll"] == fleet["roll"]


def test_a_restore_point_comes_back_on_all_webservers(site: Site) -> None:
    first, second = site.serving()[:2]
    before = site.fleet()["webservers"]
    path = "/var/lib/wordpress/wp-content/uploads/kept.txt"
    sql = "mariadb -N wordpress -e"
    site.rehearsal.on(first, f"runuser -u www-data -- sh -c 'echo kept > {path}'")
    site.rehearsal.on("db1", f"{sql} 'CREATE TABLE kept AS SELECT 4711 AS number'")
    site.rehearsal.run("backup")
    points = json.loads(site.rehearsal.run("points", "--json").stdout)
    assert [p["period"] for p in points if p["whole"]] == ["daily", "manual"]
    site.rehearsal.on(second, f"rm {path}")
    site.rehearsal.on("db1", f"{sql} 'DROP TABLE kept'")
    site.visitors.take()
    site.rehearsal.run("restore", "--yes", points[-1]["name"])
    told("restore point put back", site.visitors.take())
    assert site.rehearsal.on("db1", f"{sql} 'SELECT number FROM kept'") == "4711\n"
    for name in (first, second):
        assert site.rehearsal.on(name, f"cat {path}") == "kept\n"
    # closed for a moment is not dead: nothing was mended or replaced
    assert [w["name"] for w in site.fleet()["webservers"]] == [w["name"] for w in before]
    site.until("all serve", lambda: len(site.serving()) == len(before), 30)


def test_a_mode_cannot_be_changed(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "answers.yaml"
    other.write_text((config_templates() / "answers" / "rehearsal.yaml").read_text())
    done = site.rehearsal.run("deploy", other, check=False)
    assert done.returncode == 4
    assert "its mode cannot be changed" in done.stderr


def test_the_station_holds_no_more_than_it_needs(site: Site) -> None:
    secrets = site.rehearsal.secrets()
    leader = site.fleet()["leader"]
    text = site.rehearsal.on(leader, "cat /etc/build-usb/station.json")
    assert secrets["admin_password"].reveal() not in text
    assert secrets["ssh_key"].reveal().splitlines()[2] not in text
    mode = site.rehearsal.on(leader, "stat -c '%a %U' /etc/build-usb/station.json")
    assert mode == "600 root\n"
    # nothing of it is an argument of a process there
    listed = subprocess.run(
        ["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True
    )
    assert secrets["fleet_seed"].reveal() not in listed.stdout

"""What is written on machines: rendered, and checked for what must and must not be in it."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import yaml

from tests.unit.machine_jobs import SECRETS, machine_job
from wizard.machines import agent_zipapp, common, database, managed, postgresql, webserver
from wizard.machines.desired import Facts, File, Part
from wizard.machines.first_boot import user_data
from wizard.machines.job import (
    ApplicationSettings,
    CodeSettings,
    DatabaseSettings,
    FileSystemSettings,
    MachineJob,
    Phase,
    TlsSettings,
)
from wizard.machines.packages import COMMON, MARIADB, WEBSERVER
from wizard.machines.postgresql import PACKAGES
from wizard.machines.roles import packages, parts
from wizard.machines.templates import php
from wizard.paths import config_templates
from wizard.rules import Role
from wizard.secrets import Secret

FACTS = Facts(container=True, php="8.4")
MANAGED = DatabaseSettings(
    "mysql", "db.example.net", 25060, "demo", "demo", "ROOT\n", admin="doadmin", managed=True
)


def files(wanted: tuple[Part, ...]) -> dict[str, File]:
    return {item.path: item for p in wanted for item in p.items if isinstance(item, File)}


def everything() -> dict[str, File]:
    found = files(parts(machine_job(), FACTS))
    found |= files(parts(machine_job(role=Role.DATABASE, name="db1"), FACTS))
    found |= files(parts(machine_job(role=Role.DATABASE, database=MANAGED), FACTS))
    return found | files(parts(machine_job(phase=Phase.APPLICATION), FACTS))


def test_files_with_secrets_are_not_for_everyone() -> None:
    for file in everything().values():
        if any(secret.encode() in file.data for secret in SECRETS):
            assert file.mode & 0o007 == 0, file.path
            assert isinstance(file.content, Secret), file.path


def test_who_does_not_know_a_managed_database_administrator_leaves_its_accounts_alone() -> None:
    known, unknown = (
        {
            part.name
            for part in parts(
                machine_job(role=Role.DATABASE, database=dataclasses.replace(MANAGED, admin=admin)),
                FACTS,
            )
        }
        for admin in (MANAGED.admin, "")
    )
    assert known - unknown == {"database"}


def test_no_secret_is_in_a_command() -> None:
    for job in (
        machine_job(),
        machine_job(role=Role.DATABASE),
        machine_job(role=Role.DATABASE, database=MANAGED),
        machine_job(phase=Phase.APPLICATION),
        machine_job(phase=Phase.CERTIFICATE),
    ):
        commands = [
            text
            for part in parts(job, FACTS)
            for text in (
                *(handler.command for handler in part.handlers),
                *(step.command + step.observe for step in part.steps),
            )
        ]
        assert not [c for c in commands if any(secret in c for secret in SECRETS)]


def test_every_handler_that_a_file_names_exists() -> None:
    for job in (
        machine_job(),
        machine_job(role=Role.DATABASE),
        machine_job(phase=Phase.APPLICATION),
    ):
        for part in parts(job, FACTS):
            named = {handler for item in part.items for handler in item.handlers}
            assert named == {handler.name for handler in part.handlers}, part.name


def test_user_data_is_cloud_config_with_one_host_key() -> None:
    text = user_data("web1", 2222, Secret("PRIVATE\nKEY\n"), "ssh-ed25519 AAAA", "ssh-ed25519 BBBB")
    assert text.reveal().startswith("#cloud-config\n")
    values = yaml.safe_load(text.reveal())
    assert values["ssh_keys"] == {
        "ed25519_private": "PRIVATE\nKEY\n",
        "ed25519_public": "ssh-ed25519 AAAA",
    }
    assert values["ssh_authorized_keys"] == ["ssh-ed25519 BBBB"]
    assert values["disable_root"] is False
    written = {entry["path"]: entry["content"] for entry in values["write_files"]}
    sshd = written["/etc/ssh/sshd_config.d/10-build-usb.conf"].splitlines()
    assert "Port 2222" in sshd
    assert "PasswordAuthentication no" in sshd
    assert "PermitRootLogin prohibit-password" in sshd
    # the first connection must find what the first configuration writes
    assert (
        "\n".join(sshd) + "\n"
        == files(common.parts(machine_job(ssh_port=2222), FACTS))[
            "/etc/ssh/sshd_config.d/10-build-usb.conf"
        ].data.decode()
    )


def test_machines_reboot_at_minutes_of_their_own_at_night() -> None:
    times = {common.reboot_time(f"web{number}") for number in range(1, 11)}
    assert len(times) >= 9
    assert all(re.fullmatch(r"0[2-5]:[0-5]\d", time) for time in times)


def test_the_database_listens_privately_and_only_over_tls() -> None:
    job = machine_job(role=Role.DATABASE, private_address="10.77.0.12", memory=2048)
    text = database.settings(job)
    assert "bind-address = 10.77.0.12\n" in text
    assert "port = 2035\n" in text
    assert "require-secure-transport = ON\n" in text
    assert "innodb-buffer-pool-size = 1024M\n" in text


def test_accounts_are_for_webservers_only_without_grant_option() -> None:
    job = machine_job(role=Role.DATABASE)
    (part,) = database.parts(job, FACTS)
    sql = part.steps[0].secret_input.reveal()
    assert "'demo'@'10.77.0.11' IDENTIFIED BY 'database-password-0003' REQUIRE SSL" in sql
    assert "10.77.0.12" not in sql
    assert "GRANT OPTION" not in sql
    assert "ALL PRIVILEGES" not in sql


def test_postgresql_listens_privately_and_to_webservers_alone() -> None:
    reached = DatabaseSettings("postgresql", "10.77.0.12", 2035, "demo", "demo", "CERT\n")
    job = machine_job(
        role=Role.DATABASE, database=reached, private_address="10.77.0.12", memory=2048
    )
    found = files(parts(job, FACTS))
    folder = "/etc/postgresql/17/main"
    text = found[f"{folder}/conf.d/90-build-usb.conf"].data.decode()
    assert "listen_addresses = '10.77.0.12'\n" in text
    assert "port = 2035\n" in text
    assert "shared_buffers = '512MB'\n" in text
    rules = found[f"{folder}/pg_hba.conf"].data.decode().splitlines()
    rules = [rule for rule in rules if not rule.startswith("#")]
    assert rules == [
        "local all all peer map=build-usb",
        "hostssl demo demo 10.77.0.11/32 scram-sha-256",
    ]
    assert "database-password-0003" not in str([file.data for file in found.values()])
    assert "postgresql-17" in packages(job)
    assert "mariadb-server" not in packages(job)
    assert "php-pgsql" in packages(machine_job(database=reached))
    assert "php-pgsql" not in packages(machine_job())
    services = agent_zipapp.machine_config(job)["services"]
    assert "postgresql@17-main.service" in services
    assert "mariadb.service" not in services


def test_the_machine_of_a_managed_database_is_its_client() -> None:
    job = machine_job(role=Role.DATABASE, database=MANAGED)
    assert "mariadb-server" not in packages(job)
    assert "mariadb-client" in packages(job)
    assert "mariadb.service" not in agent_zipapp.machine_config(job)["services"]
    wanted = parts(job, FACTS)
    client = files(wanted)[managed.CLIENT]
    assert (client.mode, client.owner) == (0o600, "root")
    text = client.data.decode()
    assert "host = db.example.net" in text
    assert "ssl-verify-server-cert" in text
    assert files(wanted)["/etc/build-usb/database-authority.pem"].data == b"ROOT\n"
    (step,) = next(part for part in wanted if part.name == "database").steps
    # the first of its options, or MariaDB's client refuses it
    assert step.command.startswith(f"mariadb --defaults-extra-file={managed.CLIENT} ")
    setup = step.secret_input.reveal()
    assert setup.count("REQUIRE SSL") == 2
    # MySQL does not know what MariaDB has of its own
    assert "global_priv" not in setup
    assert "EXECUTE IMMEDIATE" not in setup
    # PostgreSQL's: as its own file says, and nothing else of it
    reached = dataclasses.replace(MANAGED, engine="postgresql", first="defaultdb")
    job = machine_job(role=Role.DATABASE, database=reached)
    assert "postgresql-client-17" in packages(job)
    assert not {"postgresql-17", "mariadb-client"} & set(packages(job))
    assert (
        agent_zipapp.machine_config(job)["services"]
        == agent_zipapp.machine_config(machine_job(role=Role.DATABASE, database=MANAGED))[
            "services"
        ]
    )
    client = files(parts(job, FACTS))[postgresql.CLIENT]
    assert (client.mode, client.owner) == (0o600, "root")
    said = dict(line.split("=", 1) for line in client.data.decode().splitlines() if "=" in line)
    assert (said["host"], said["port"], said["user"], said["dbname"]) == (
        "db.example.net", "25060", "doadmin", "defaultdb"
    )  # fmt: skip
    assert said["sslmode"] == "verify-full"
    assert postgresql.CLIENT not in files(parts(machine_job(database=reached), FACTS))
    # no other machine learns who administers it
    for other in (machine_job(database=MANAGED), machine_job(phase=Phase.APPLICATION)):
        assert managed.CLIENT not in files(parts(other, FACTS))
        assert "database-admin-password-0006" not in str(
            [file.data for file in files(parts(other, FACTS)).values()]
        )


def test_hsts_only_with_an_authority_that_browsers_know() -> None:
    headers = "/etc/nginx/snippets/build-usb-headers.conf"
    rehearsal = files(webserver.parts(machine_job(), FACTS))[headers].data
    public = machine_job(tls=TlsSettings("https://acme.test/dir", "a@b.test"))
    assert b"Strict-Transport-Security" not in rehearsal
    assert b"Strict-Transport-Security" in files(webserver.parts(public, FACTS))[headers].data


def test_addresses_are_served_but_not_certified() -> None:
    script = files(webserver.parts(machine_job(), FACTS))["/usr/local/sbin/build-usb-certificate"]
    text = script.data.decode()
    assert 'names="www.rehearsal.test rehearsal.test"' in text
    assert "-d 127.77.0.11" not in text
    only_names = dataclasses.replace(machine_job(), hosts=("a.test",))
    for job, rejects in ((machine_job(), False), (only_names, True)):
        site = files(webserver.parts(job, FACTS))["/etc/nginx/sites-enabled/build-usb"].data
        assert (b"ssl_reject_handshake on" in site) is rejects


@pytest.mark.parametrize("leader", [True, False])
def test_one_machine_alone_renews_and_runs_the_applications_cron(leader: bool) -> None:
    job = machine_job(leader=leader)
    cron = files(webserver.parts(job, FACTS))["/etc/cron.d/build-usb-certificate"].data.decode()
    assert ("renew" in cron) is leader
    assert ("fetch" in cron) is not leader
    application = files(parts(machine_job(phase=Phase.APPLICATION, leader=leader), FACTS))
    assert ("/etc/cron.d/build-usb-application" in application) is leader


@pytest.mark.parametrize(("memory", "expected"), [(512, 3), (1024, 11), (4096, 59), (65536, 64)])
def test_php_processes_fit_into_memory(memory: int, expected: int) -> None:
    assert webserver.children(memory) == expected


def test_php_text_cannot_leave_its_quotes() -> None:
    assert php("it's \\ $x") == "'it\\'s \\\\ $x'"


def test_a_file_system_is_mounted_over_tls_that_knows_its_name() -> None:
    server = FileSystemSettings("fs-1.efs.here.amazonaws.com", 2049, ("10.0.0.9", "10.0.16.9"))
    job = machine_job(file_system=server)
    assert MachineJob.from_plain(json.loads(json.dumps(job.to_plain()))).file_system == server
    found = files(parts(job, FACTS))
    stunnel = found["/etc/build-usb/shared-config-stunnel.conf"].data.decode()
    connects = [line for line in stunnel.splitlines() if line.startswith("connect")]
    assert connects == ["connect = 10.0.0.9:2049", "connect = 10.0.16.9:2049"]
    assert "checkHost = fs-1.efs.here.amazonaws.com" in stunnel
    assert "verifyChain = yes" in stunnel
    assert "stunnel4" in packages(job)
    assert "stunnel4" not in packages(machine_job())
    # the build machine does not reach it: each machine writes the list that all read
    (announce,) = next(p for p in parts(job, FACTS) if p.name == "shared configuration").steps
    listed = json.loads(announce.secret_input.reveal())["peers"]
    assert [peer["name"] for peer in listed] == ["db1", "web1"]
    # an autoscaler mounts it itself: what it builds, the template of snapshots too, writes no list
    built = machine_job(file_system=replace(server, announces=False))
    assert MachineJob.from_plain(json.loads(json.dumps(built.to_plain()))) == built
    (part,) = (p for p in parts(built, FACTS) if p.name == "shared configuration")
    assert part.steps == ()


def test_beside_a_file_system_the_bucket_is_mounted_for_who_needs_what_is_in_it() -> None:
    server = FileSystemSettings("fs-1.efs.here.amazonaws.com", 2049, ("10.0.0.9",))
    unit, of_bucket = "/etc/systemd/system/build-usb-bucket.service", {}
    for mode, role in product(("development", "production"), Role):
        job = machine_job(role=role, mode=mode, file_system=server)
        job = replace(job, secrets={**job.secrets, "station": Secret("{}")})
        found = files(parts(job, FACTS))
        of_bucket[mode, role] = unit in found
        told = agent_zipapp.machine_config(job)
        assert ("build-usb-bucket.service" in told["services"]) == (unit in found)
        assert told["registry"] == ("/srv/bucket" if unit in found else "/srv/shared-config")
    assert of_bucket == {(mode, role): mode == "production" for mode, role in of_bucket}
    (program,) = next(p for p in parts(job, FACTS) if p.name == "autoscaler").steps
    assert "cp /srv/bucket/product/" in program.command


def test_shell_scripts_can_be_parsed() -> None:
    script = files(webserver.parts(machine_job(), FACTS))["/usr/local/sbin/build-usb-certificate"]
    subprocess.run(["sh", "-n"], input=script.data, check=True)


def test_a_rehearsals_base_tree_holds_what_roles_install() -> None:
    text = Path(config_templates() / "lab/packages.txt").read_text()
    there = {line for line in text.splitlines() if line and not line.startswith("#")}
    from wizard.applications import application

    wanted = {
        *COMMON,
        *MARIADB,
        *PACKAGES,
        "php-pgsql",
        *WEBSERVER,
        *application("wordpress").packages,
    }
    assert wanted <= there, wanted - there


def own(
    phase: Phase, *, kind: str = "php", writable: tuple[str, ...] = (), **job: object
) -> MachineJob:
    """Return the job of a webserver with own code, in production mode."""
    app = ApplicationSettings(kind, "Own", "boss", "boss@rehearsal.test", "en_US")
    code = CodeSettings("0" * 64, "abc", "public", writable, "/", "", settings=False)
    return machine_job(
        **{"mode": "production", "phase": phase, "application": app, "code": code} | job
    )


def test_folders_that_own_code_writes_to_are_mounted_on_webservers_in_production() -> None:
    unit = "/etc/systemd/system/build-usb-uploads.service"
    written = own(Phase.BASE, writable=("storage",))
    mounting = str(files(parts(written, FACTS))[unit].content)
    assert "/usr/bin/s3fs demo-bucket:/uploads /srv/site/shared -f" in mounting
    # below the mount nothing can be written by PHP
    assert mounting.index("umount") < mounting.index("chown root:root /srv/site/shared")
    assert mounting.index("chown root:root /srv/site/shared") < mounting.index("bin/s3fs")
    assert "build-usb-uploads.service" in agent_zipapp.machine_config(written)["services"]
    for other in (
        own(Phase.BASE),
        own(Phase.BASE, writable=("storage",), mode="development"),
        own(Phase.BASE, writable=("storage",), role=Role.DATABASE),
    ):
        assert unit not in files(parts(other, FACTS))
        assert "build-usb-uploads.service" not in agent_zipapp.machine_config(other)["services"]


@pytest.mark.parametrize("engine", ["mariadb", "mysql", "postgresql"])
def test_sessions_of_own_php_are_in_the_database_in_production(engine: str) -> None:
    settings = "/etc/php/8.4/fpm/conf.d/91-build-usb-sessions.ini"
    database = DatabaseSettings(engine, "db.example.net", 2035, "php", "php", "ROOT\n")
    found = files(parts(own(Phase.APPLICATION, database=database), FACTS))
    assert "auto_prepend_file = /srv/site/settings/sessions.php" in str(found[settings].content)
    program = found["/srv/site/settings/sessions.php"]
    assert isinstance(program.content, Secret)
    assert (program.mode, program.owner, program.group) == (0o640, "root", "www-data")
    # the server is known by its certificate
    verified = {True: "sslmode=verify-full;sslrootcert=", False: "SSL_VERIFY_SERVER_CERT] = true"}
    assert verified[engine == "postgresql"] in program.content.reveal()
    nothing = DatabaseSettings("", "", 0, "", "", "")
    for other in (
        own(Phase.APPLICATION, mode="development"),
        own(Phase.APPLICATION, kind="static"),
        own(Phase.APPLICATION, database=nothing),
    ):
        assert settings not in files(parts(other, FACTS))

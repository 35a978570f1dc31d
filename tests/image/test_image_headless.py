"""The boot entry "Headless" in a virtual computer: a whole deployment on a cloud outside of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pyrage
import pytest

from tests.emulators.nameserver import NameServer
from tests.image.image import Image
from tests.image.internal_disks import run
from tests.image.machine import START, Computer, Machine
from tests.lab.deployments import PASSPHRASE
from tests.lab.laboratory import Laboratory
from tests.lab.test_cloud_deployment import ZONE, Cloud, left, opened, page
from wizard.home.home import Home
from wizard.lab import addresses
from wizard.lab.namespaces import OtherNetwork
from wizard.secrets import Secret

pytestmark = [pytest.mark.image, pytest.mark.image_long]

# as tests/lab/cloud_driver.py: the public authorities cannot see the emulated cloud's machines
DRIVER = """
import sys
from wizard.engine import open as engine_open
from wizard.providers.base import AcmeAuthority
from wizard.stick.headless import main
authority = AcmeAuthority(**{authority!r})
engine_open.authority = lambda _answers, _services: authority
sys.exit(main())
"""
DROP_IN = """[Service]
ExecStart=
ExecStart=/opt/build-usb/bin/python /run/test/driver.py
Environment=BUILD_USB_DIGITALOCEAN_URL={environment[BUILD_USB_DIGITALOCEAN_URL]}
Environment=BUILD_USB_DIGITALOCEAN_STORAGE_URL={environment[BUILD_USB_DIGITALOCEAN_STORAGE_URL]}
Environment=BUILD_USB_RESOLVER={resolver[0]}:{resolver[1]}
"""
# there is no internet here to ask whether it is there
TMPFILES = r"""d /run/test 0755
f^ /run/test/driver.py 0644 root root - tmpfiles.driver
d /run/NetworkManager/conf.d 0755
f /run/NetworkManager/conf.d/test.conf 0644 root root - [connectivity]\nenabled=false\n
"""


def keys_stick(path: Path, secrets: dict[str, str]) -> Path:
    """Make the second stick: one FAT partition with the passphrase and the secrets."""
    path.touch()
    run("truncate", "--size", "64M", path)
    run("sfdisk", "-q", path, given="label: dos\nstart=2048, type=c\n")
    run("mkfs.vfat", "-n", "BUILD-KEYS", "--offset", "2048", path, "64000")
    for name, content in (("passphrase", PASSPHRASE), ("secrets.yaml", json.dumps(secrets))):
        file = path.with_name(name)
        file.write_text(content)
        run("mcopy", "-i", f"{path}@@1M", file, f"::/{name}")
    return path


@contextmanager
def delegating(laboratory: Laboratory) -> Iterator[tuple[str, int]]:
    """Tell in the lab's network, as the world's resolvers do, which servers have the zone; yield
    where."""
    descriptor = os.open(f"/proc/{laboratory.processes()[-1]}/ns/net", os.O_RDONLY)
    try:
        line = OtherNetwork(descriptor).run(lambda: socket.create_server((addresses.SERVICES, 0)))
        with NameServer(lambda _: (0, []), {ZONE: [addresses.SERVICES]}, line) as resolver:
            yield resolver.address
    finally:
        os.close(descriptor)


def credentials(cloud: Cloud, resolver: tuple[str, int]) -> dict[str, str]:
    """Return what the computer's firmware tables tell the image of the emulated cloud."""
    services = cloud.laboratory.provider.services(ZONE)
    assert services.acme
    return {
        "tmpfiles.extra": TMPFILES,
        "tmpfiles.driver": DRIVER.format(authority=asdict(services.acme)),
        "systemd.unit-dropin.build-usb-headless.service": DROP_IN.format(
            environment=cloud.environment, resolver=resolver
        ),
    }


def test_answers_become_a_site_on_a_cloud(
    image: Image, laboratory: Laboratory, tmp_path: Path
) -> None:
    """Answers on the stick, secrets on a second one, no key pressed: the site is served, the report
    is on the stick, the computer is off; and the deployment is taken over elsewhere."""
    stick = image.stick(tmp_path / "stick.img")
    place = image.fat(stick, 3)
    with (
        opened(laboratory, tmp_path, "digitalocean") as cloud,
        delegating(laboratory) as resolver,
    ):
        secrets = {"cloud": cloud.environment["DIGITALOCEAN"], "space": cloud.environment["SPACES"]}
        answers = cloud.answers.read_text()
        for variable, name in (("DIGITALOCEAN", "cloud"), ("SPACES", "space")):
            answers = answers.replace(f"{{environment: {variable}}}", f"{{home: {name}}}")
        given = tmp_path / "given.yaml"
        given.write_text(answers)
        run("mcopy", "-i", place, given, "::/answers.yaml")
        computer = Computer(
            stick,
            image.direct("h", "buildusb.after=poweroff"),
            keys=keys_stick(tmp_path / "keys.img", secrets),
            network=Path(f"/proc/{laboratory.processes()[-1]}/ns/net"),
            credentials=credentials(cloud, resolver),
        )
        with Machine(tmp_path / "computer", computer) as machine:
            machine.serial.wait("^BUILDUSB: headless started", START)
            begun = machine.seconds()
            # a failure before the first step has a report, too
            machine.serial.wait("^BUILDUSB: headless (step .* started|failed)", START)
            machine.picture("deploying")
            ended = machine.serial.wait("^BUILDUSB: headless (done|failed) code=(.*)$", 5400)
            machine.picture("done")
            print(json.dumps({"seconds of the run": round(machine.seconds() - begun)}))
            machine.serial.wait("^BUILDUSB: headless after poweroff", 300)
            machine.wait_off()
            said = machine.serial.text()
        run("mcopy", "-n", "-s", "-i", place, "::/report", tmp_path)
        (folder,) = (tmp_path / "report").iterdir()
        report = (folder / "report.md").read_text()
        assert ended[2] == "0", report
        result = json.loads((folder / "result.json").read_text())
        assert (result["state"], result["url"]) == ("done", "https://www.cloud.test/")
        said += "".join(file.read_text() for file in folder.iterdir())
        assert not [name for name, value in secrets.items() if value in said]
        assert PASSPHRASE not in said

        assert left(cloud.api)["droplets"] == 2
        # the stick kept nothing; who has the answers, the keys and the passphrase takes it over
        cloud.run("adopt", cloud.answers)
        (web,) = (m for m in laboratory.provider.machines("demo") if m.name == "web1")
        assert "A site on a cloud" in page(cloud, web).text
        # its answers name the secrets by the names that they have in a home
        home = Home.open(tmp_path / "home")
        kept = home.vault(home.unlock(Secret(PASSPHRASE)))
        for name, value in secrets.items():
            kept.set(name, Secret(value))
        cloud.run("destroy", "--yes", "demo")
        assert left(cloud.api) == {}


# its secrets are nowhere: that is said once the passphrase is known, before a cloud is asked
NAMELESS = """version: 1
name: demo
mode: development
provider: {name: digitalocean, region: fra1, credentials: {home: cloud-token}}
application:
  kind: wordpress
  title: My first site
  admin: {user: editor, email: editor@example.org}
domain: {name: www.rehearsal.test}
dns: {provider: digitalocean, zone: rehearsal.test}
object_storage: {region: fra1, credentials: {home: bucket-key}}
ssh: {build_machine: 192.0.2.7}
"""


def test_passphrases_of_the_computer(image: Image, tmp_path: Path) -> None:
    """One that its TPM has sealed, one that its firmware tells; another computer opens neither."""
    stick, chip = image.stick(tmp_path / "stick.img"), tmp_path / "tpm"
    chip.mkdir()
    with Machine(
        tmp_path / "sealing", Computer(stick, image.direct("w"), shell=True, tpm=chip)
    ) as machine:
        machine.await_shell()
        sealed = machine.run(
            f"printf %s '{PASSPHRASE}' | systemd-creds encrypt --with-key=tpm2 --tpm2-pcrs="
            " --name=buildusb.passphrase - -"
        )
        machine.switch_off()
    for name, content in (("answers.yaml", NAMELESS), ("passphrase.cred", sealed)):
        (tmp_path / name).write_text(content)
        run("mcopy", "-i", image.fat(stick, 3), tmp_path / name, f"::/{name}")
    headless = image.direct("h", "buildusb.after=poweroff")
    told = {"buildusb.passphrase": PASSPHRASE}
    for folder, computer, code in (
        ("same", Computer(stick, headless, tpm=chip), 2),
        ("told", Computer(stick, headless, credentials=told), 2),
        ("other", Computer(stick, headless), 7),
    ):
        with Machine(tmp_path / folder, computer) as machine:
            machine.serial.wait("^BUILDUSB: headless wanted passphrase", START)
            machine.serial.wait(f"^BUILDUSB: headless failed code={code}", 300)
            machine.wait_off()
            said = machine.serial.text()
        assert PASSPHRASE not in said
    run("mcopy", "-n", "-s", "-i", image.fat(stick, 3), "::/report", tmp_path)
    problems = [
        json.loads((report / "result.json").read_text())["problem"]
        for report in sorted((tmp_path / "report").iterdir())
    ]
    assert [problem["what"] for problem in problems] == [
        "not all secrets that the answers name are here",
        "not all secrets that the answers name are here",
        "the sealed passphrase cannot be opened on this computer",
    ]
    assert PASSPHRASE not in json.dumps(problems)


def test_a_typed_passphrase_opens_the_secrets_and_what_was_asked_for_follows(
    image: Image, tmp_path: Path
) -> None:
    """Secrets in an age file beside the answers. There is no network, which is found out after they
    were opened; the computer becomes the wizard then, or starts again."""
    stick = image.stick(tmp_path / "stick.img")
    secrets = {"cloud-token": "dop_v1_of_nobody", "bucket-key": "OF_NOBODY:of_nobody"}
    locked = pyrage.passphrase.encrypt(json.dumps(secrets).encode(), PASSPHRASE)
    for name, content in (("answers.yaml", NAMELESS.encode()), ("secrets.age", locked)):
        (tmp_path / name).write_bytes(content)
        run("mcopy", "-i", image.fat(stick, 3), tmp_path / name, f"::/{name}")
    for after in ("wizard", "reboot"):
        words = f"buildusb.after={after} buildusb.wait=0"
        computer = Computer(stick, image.direct("h", words), shell=True, restarts=True)
        with Machine(tmp_path / after, computer) as machine:
            machine.monitor.tell("set_link", name="cable", up=False)
            machine.serial.wait("^BUILDUSB: headless wanted passphrase", START)
            machine.await_shell()
            machine.await_console("Passphrase")
            machine.type(PASSPHRASE + "\n")
            machine.serial.wait("^BUILDUSB: headless failed code=11", START)
            machine.serial.wait(f"^BUILDUSB: headless after {after}", 60)
            if after == "wizard":
                shown = machine.await_console("Keyboard layout", START)
                machine.picture("wizard-after")
                assert PASSPHRASE not in shown
            else:
                assert machine.monitor.happened("RESET", 600)
    run("mcopy", "-n", "-s", "-i", image.fat(stick, 3), "::/report", tmp_path)
    reports = sorted((tmp_path / "report").iterdir())
    assert len(reports) == 2
    said = "".join(file.read_text() for folder in reports for file in folder.iterdir())
    assert said.count("no network within 0 minutes") >= 2
    assert not [secret for secret in (*secrets.values(), PASSPHRASE) if secret in said]

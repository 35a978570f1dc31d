"""A whole deployment on the emulated Amazon with its shared folder at EFS: both machines mount it
by NFS 4.1 through stunnel, from a server of the lab.

Machines of the lab have this computer's kernel. Where that has no NFS, the same test runs in a
virtual machine with Debian's kernel, which has this computer's files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.laboratory import Laboratory
from tests.lab.test_cloud_deployment import Cloud, changes, left, opened, page
from tests.stick import guest
from wizard.machines import peers
from wizard.machines.places import SHARED_CONFIG, SHARED_CONFIG_UNIT

pytestmark = pytest.mark.lab
INSIDE = """
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export BUILD_USB_BASE_TREE={base_trees} BUILD_USB_TEST_TRIES=3
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
echo 1024 > /proc/sys/fs/inotify/max_user_instances
# what a machine writes cannot be on an overlay
mount -t tmpfs tests /mnt
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
rm /etc/resolv.conf
echo nameserver 10.0.2.3 > /etc/resolv.conf
cd {root}
{python} -m pytest -s --color=no -p no:cacheprovider --basetemp=/mnt/tests {test}
"""
"""Makes of a kernel with a root file system what labs need of a computer, and runs the test."""
FURNISH = """
printf '#!/bin/sh\\nexit 101\\n' > usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
cp -p etc/resolv.conf resolv.conf
cat /etc/resolv.conf > etc/resolv.conf
mount -t proc proc proc
mount --bind /dev dev
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
chroot . apt-get -qq update
chroot . apt-get -qq install --no-install-recommends nfs-ganesha nfs-ganesha-mem stunnel4
chroot . systemctl --quiet disable nfs-ganesha rpcbind rpcbind.socket stunnel4
mv resolv.conf etc
rm usr/sbin/policy-rc.d
"""
"""Puts what machines would install into the tree that they stand on."""
# two processors: machines wait for each other, and QEMU emulates them side by side
SYSTEM = guest.System(
    ("/bin/sh",),
    ("fuse", "tun", "virtio_net", "nfsv4"),
    ("-smp", "2", "-m", "8192", "-nic", "user,model=virtio-net-pci"),
)


def has_nfs() -> bool:
    """Say whether this computer's kernel mounts NFS."""
    known = subprocess.run(["sh", "-c", "modprobe --dry-run --quiet nfsv4"], check=False)
    return known.returncode == 0 or "\tnfs4\n" in Path("/proc/filesystems").read_text()


@pytest.fixture
def furnished(base_tree: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with a base tree that has all packages: an emulated computer takes minutes to
    install them."""
    copy = tmp_path / "trees" / base_tree.name
    copy.parent.mkdir()
    subprocess.run(["cp", "-a", base_tree, copy], check=True)
    install = ["unshare", "--mount", "sh", "-ec", FURNISH]
    done = subprocess.run(install, cwd=copy, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this computer's package sources lack something: {done.stderr}")
    yield copy.parent
    shutil.rmtree(copy)


@pytest.mark.image_long
@pytest.mark.skipif(has_nfs(), reason="this computer's kernel has NFS: the test itself runs")
@pytest.mark.skipif(bool(guest.missing()), reason=f"needs {', '.join(guest.missing())}")
def test_it_runs_under_a_kernel_with_nfs(furnished: Path, tmp_path: Path) -> None:
    values = {"root": guest.ROOT, "python": sys.executable, "base_trees": furnished}
    test = f"{__file__}::{test_a_site_with_its_shared_folder_at_efs.__name__}"
    script = tmp_path / "inside.sh"
    script.write_text(INSIDE.format(**values, test=test))
    with guest.Guest(tmp_path / "vm", [], str(script), system=SYSTEM) as machine:
        machine.end(3600)
        print(*(line for line in machine.lines if line.startswith("FIGURE")), sep="\n")
    assert any(" 1 passed" in line for line in machine.lines), machine.text()


def deploy(cloud: Cloud) -> None:
    """Deploy. Where an emulated computer is slower than a limit of ours allows, this does what the
    message says: the same again."""
    for left_over in reversed(range(int(os.environ.get("BUILD_USB_TEST_TRIES", "1")))):
        done = cloud.run("deploy", cloud.answers, "--json", "--yes", check=not left_over)
        if done.returncode == 0:
            return
        print("FIGURE begun again:", done.stderr)


@pytest.mark.skipif(not has_nfs(), reason="this computer's kernel has no NFS")
def test_a_site_with_its_shared_folder_at_efs(laboratory: Laboratory, tmp_path: Path) -> None:
    with opened(laboratory, tmp_path, "aws") as cloud:
        with cloud.answers.open("a") as answers:
            answers.write("shared_config: {kind: efs}\n")
        began = time.monotonic()
        deploy(cloud)
        print(f"\nFIGURE deployed in {time.monotonic() - began:.0f} s")
        made = left(cloud.api)
        assert (made["instances"], made["file systems"]) == (2, 1)
        enter = laboratory.enter
        machines = {m.name: m for m in laboratory.provider.machines("demo")}
        web, database, files = machines["web1"], machines["db1"], machines["files"]
        for machine in (web, database):
            shown = enter(machine.id, "findmnt", "-no", "SOURCE,FSTYPE,OPTIONS", SHARED_CONFIG)
            source, kind, options = shown.split()
            assert (source, kind) == ("127.0.0.1:/", "nfs4")
            assert "vers=4.1" in options.split(",")
            # the folder is reached through stunnel alone
            connected = enter(machine.id, "ss", "-Htnp", "state", "established", "dport = :2049")
            assert f"{files.private_address}:2049" in connected
            assert "stunnel4" in connected
            assert enter(machine.id, "systemctl", "is-active", SHARED_CONFIG_UNIT) == "active\n"
        probe = laboratory.provider.probe
        assert probe(web.id, files.private_address, 2049) == "open"
        assert probe("visitor", files.private_address, 2049) == "filtered"
        # what one writes the other reads at once, and no user of the machine's but root
        known = f"{SHARED_CONFIG}/{peers.NAME}"
        listed = json.loads(enter(web.id, "cat", known))["peers"]
        assert [peer["name"] for peer in listed] == ["db1", "web1"]
        enter(web.id, "sh", "-c", f"umask 77; echo written by web1 > {SHARED_CONFIG}/word")
        assert enter(database.id, "cat", f"{SHARED_CONFIG}/word") == "written by web1\n"
        with pytest.raises(AssertionError, match="Permission denied"):
            enter(database.id, "runuser", "-u", "nobody", "--", "cat", f"{SHARED_CONFIG}/word")
        cloud.run("status")
        shown = page(cloud, web)
        assert shown.status_code == 200
        assert "A site on a cloud" in shown.text

        before, began = changes(cloud), time.monotonic()
        cloud.run("deploy", cloud.answers, "--json", "--yes")
        assert changes(cloud) == before
        print(f"FIGURE deployed again in {time.monotonic() - began:.0f} s")
        cloud.run("destroy", "--yes", "demo")
        assert left(cloud.api) == {}
        assert cloud.api.violations == []
        assert laboratory.provider.machines("demo") == []

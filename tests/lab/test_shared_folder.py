"""The shared folder at EFS, mounted for real: NFS 4.1 through stunnel, by the very unit and files
that machines get, from a server behind TLS.

Under User Mode Linux, Debian's kernel as a program: this computer's own may have no NFS. Its root
file system is this computer's, below a tmpfs: what is changed there is gone with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab
PACKAGES = (
    "libnfsidmap1",
    "libntirpc4.3",
    "liburcu8",
    "libwbclient0",
    "libwrap0",
    "nfs-ganesha",
    "nfs-ganesha-mem",
    "stunnel4",
    "user-mode-linux",
)
"""What this computer may not have; unpacked for the test alone."""
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t tmpfs rw /mnt && mkdir /mnt/upper /mnt/work /mnt/root
insmod {modules}/kernel/fs/overlayfs/overlay.ko
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root
for d in proc sys dev; do mount --rbind /$d /mnt/root/$d; done
mount -t tmpfs run /mnt/root/run
chroot /mnt/root {python} -u {inside} {tree}
echo ENDED $?
poweroff -f || busybox poweroff -f
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    # apt wants to become another user, who may not write here
    fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", *PACKAGES]
    done = subprocess.run(fetch, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this computer's package sources lack something: {done.stderr}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "--extract", package, folder / "tree"], check=True)
    return folder / "tree"


def test_the_folder_is_mounted_lost_and_found(tree: Path, tmp_path: Path) -> None:
    (modules,) = (tree / "usr/lib/uml/modules").iterdir()
    inside = Path(__file__).with_name("shared_folder_inside.py")
    script = INIT.format(modules=modules, python=sys.executable, inside=inside, tree=tree)
    (tmp_path / "init").write_text(script)
    (tmp_path / "init").chmod(0o755)
    kernel = tree / "usr/bin/linux.uml"
    said = tmp_path / "said"
    with said.open("w") as output:
        subprocess.run(
            [
                *(kernel, "mem=1G", "quiet", "rootfstype=hostfs", "rootflags=/", "ro"),
                *(f"init={tmp_path}/init", "con=null", "con0=null,fd:1", f"uml_dir={tmp_path}/"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=240,
            check=False,
        )
    text = said.read_text()
    if "ptrace set fp regs failed" in text:
        # processors with AMX have more registers than it has room for
        pytest.skip("Debian's User Mode Linux cannot keep this processor's registers")
    assert "ENDED 0" in text, text[-5000:]
    print(*(line for line in text.splitlines() if line.startswith("FIGURE")), sep="\n")

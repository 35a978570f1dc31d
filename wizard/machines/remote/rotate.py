"""Install a new host key (JSON on stdin: private, public; or nothing), forget first boot's."""

import json
import os
import subprocess
import sys
from pathlib import Path

KEY = Path("/etc/ssh/ssh_host_ed25519_key")


def install(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text if text.endswith("\n") else text + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def forget_user_data() -> None:
    """Empty what cloud-init kept of user-data. The seed's meta-data stays: without it the next
    boot would look like the first one of another machine."""
    kept = [
        *Path("/var/lib/cloud/seed").glob("*/user-data"),
        *Path("/run/cloud-init").glob("*user-data*"),
    ]
    for path in kept:
        install(path, "#cloud-config\n{}", 0o600)
    lib = Path("/var/lib/cloud")
    for path in [
        *lib.glob("instances/*/user-data*"),
        *lib.glob("instances/*/cloud-config.txt"),
        *lib.glob("instances/*/obj.pkl"),
        *Path("/run/cloud-init").glob("*sensitive*.json"),
        *Path("/run/cloud-init").glob("combined-cloud-config.json"),
    ]:
        path.unlink(missing_ok=True)


def main() -> None:
    """Replace the key if one is given; then reload sshd, which keeps its sessions."""
    keys = json.load(sys.stdin)
    # cloud-init must have written its last copy before the copies are removed
    if not Path("/run/cloud-init/result.json").exists():
        subprocess.run(["cloud-init", "status", "--wait"], stdout=subprocess.DEVNULL, check=False)
    if keys:
        install(KEY, keys["private"], 0o600)
        install(KEY.with_suffix(".pub"), keys["public"], 0o644)
        subprocess.run(["/usr/sbin/sshd", "-t"], check=True)
        subprocess.run(["systemctl", "reload", "ssh.service"], check=True)
    for other in KEY.parent.glob("ssh_host_*"):
        if other not in (KEY, KEY.with_suffix(".pub")):
            other.unlink()
    forget_user_data()


main()

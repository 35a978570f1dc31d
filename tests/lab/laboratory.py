"""A lab under test: machines, SSH into them, and ways to look into it as root."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import time
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from wizard.lab import namespaces
from wizard.providers.base import Machine, MachineSpec
from wizard.providers.local import LocalProvider
from wizard.rules import Role
from wizard.secrets import Secret

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Keys:
    """A host key and a user's key, and the cloud-init user data that installs them."""

    def __init__(self) -> None:
        self.host = self._make()
        self.user = self._make()

    @staticmethod
    def _make() -> tuple[str, str]:
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        return private.decode(), public.decode()

    def user_data(self) -> Secret:
        private = "".join(f"    {line}\n" for line in self.host[0].splitlines())
        return Secret(
            "#cloud-config\nusers: []\ndisable_root: false\nssh_deletekeys: true\n"
            f"ssh_genkeytypes: [ed25519]\nssh_keys:\n  ed25519_private: |\n{private}"
            f"  ed25519_public: {self.host[1]}\n"
            f'ssh_authorized_keys: ["{self.user[1]}"]\n'
        )


class Laboratory:
    """The lab under test: its provider, and what tests do with machines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.provider = LocalProvider(folder)
        self.keys = Keys()

    def machine(self, deployment: str, name: str, role: Role, image: str = "debian-13") -> Machine:
        network = self.provider.ensure_network(deployment)
        return self.provider.ensure_machine(
            MachineSpec(
                deployment, name, role, "small", image, "here", network.id, self.keys.user_data()
            )
        )

    def ssh(self, machine: Machine, port: int = 22, deadline: float = 60) -> paramiko.SSHClient:
        """Connect as soon as the machine answers; only the injected host key is accepted."""
        end = time.monotonic() + deadline
        while True:
            # a plain banner first: paramiko is loud about half-open connections
            try:
                with socket.create_connection((machine.access_address, port), timeout=2) as probe:
                    if probe.recv(4) == b"SSH-":
                        break
            except OSError:
                pass
            assert time.monotonic() < end, f"{machine.name} does not answer"
            time.sleep(0.05)
        client = paramiko.SSHClient()
        host_key = paramiko.Ed25519Key(file_obj=io.StringIO(self.keys.host[0]))
        client.get_host_keys().add(machine.access_address, "ssh-ed25519", host_key)
        client.connect(
            machine.access_address,
            port,
            "root",
            pkey=paramiko.Ed25519Key(file_obj=io.StringIO(self.keys.user[0])),
            look_for_keys=False,
            allow_agent=False,
        )
        return client

    def run(self, machine: Machine, command: str) -> str:
        """Run a command over SSH; it must succeed."""
        client = self.ssh(machine)
        try:
            _, output, errors = client.exec_command(command)
            text = output.read().decode()
            assert output.channel.recv_exit_status() == 0, text + errors.read().decode()
        finally:
            client.close()
        return text

    def cgroup(self) -> Path:
        """The lab's control group as the host sees it."""
        identity = self.folder.stat()
        name = f"build-usb-lab-{identity.st_dev:x}-{identity.st_ino:x}"
        return namespaces.cgroup2_mount() / name

    def leader(self, machine_id: str) -> int:
        """The host's process id of a machine's systemd."""
        scope = self.cgroup() / machine_id / "payload" / "init.scope" / "cgroup.procs"
        return int(scope.read_text().split()[0])

    def enter(self, machine_id: str, *command: str, stdin: str = "") -> str:
        """Run a command in a machine as root of this computer can, with what root has in its
        environment there; needs no SSH. It must succeed."""
        target = f"--target={self.leader(machine_id)}"
        walls = ["--mount", "--net", "--pid", "--uts", "--ipc", "--root"]
        done = subprocess.run(
            ["nsenter", target, *walls, "--wdns=/root", "--", *command],
            env={"PATH": PATH, "HOME": "/root", "USER": "root", "SHELL": "/bin/bash"},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(
                f"{command} ended with {done.returncode}\n{done.stdout[-3000:]}\n"
                f"{done.stderr[-3000:]}"
            )
        return done.stdout

    def processes(self) -> list[int]:
        """The host's process ids of the keeper, the init and the daemon, in this order."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except (NotADirectoryError, FileNotFoundError, ProcessLookupError):
                continue
            if b"wizard.lab" in command and os.fsencode(self.folder) in command:
                found.append(int(entry.name))
        return sorted(found)

    def clear(self, *deployments: str) -> None:
        for deployment in deployments:
            for resource in self.provider.resources(deployment):
                self.provider.delete(resource)


def traces() -> dict[str, set[str]]:
    """What a lab could leave on this computer outside its folder."""

    def lines(*command: str) -> set[str]:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return set(output.splitlines())

    groups = namespaces.cgroup2_mount().glob("build-usb-lab-*")
    return {
        "mounts": set(Path("/proc/self/mounts").read_text().splitlines()),
        "interfaces": lines("ip", "-brief", "link"),
        "routes": lines("ip", "route"),
        "rules": lines("nft", "list", "ruleset"),
        "cgroups": set(map(str, groups)),
    }

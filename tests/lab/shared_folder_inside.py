"""What runs under the kernel of `test_shared_folder.py`.

An NFS 4.1 server keeps files in memory; in front of it stands TLS with a certificate for the file
system's name. The machine's side is the product's: its files, the commands of its unit, its agent.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.unit.machine_jobs import machine_job
from wizard.machines import peers, shared_config
from wizard.machines.desired import File
from wizard.machines.job import FileSystemSettings
from wizard.machines.places import SHARED_CONFIG

HOST = "fs-0123.efs.here.amazonaws.com"
PLACE = Path("/run/server")
GANESHA = """
NFS_CORE_PARAM {
  NFS_Protocols = 4; NFS_Port = 12049;
  Enable_NLM = false; Enable_RQUOTA = false;
}
MEM { Inode_Size = 65536; }
NFSv4 { Graceless = true; Minor_Versions = 1; Only_Numeric_Owners = true; }
EXPORT {
  Export_Id = 1; Path = "/srv/export"; Pseudo = "/"; Protocols = 4; Transports = TCP;
  Access_Type = RW; Squash = None; SecType = sys; FSAL { Name = MEM; }
}
"""
TLS = """
foreground = yes
debug = err
pid =
[nfs]
accept = 127.0.0.2:2049
connect = 127.0.0.1:12049
cert = {name}.pem
key = {name}.key
"""


def say(*words: object) -> None:
    print(*words, flush=True)


def sh(*words: str | Path, text: str = "") -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, input=text).stdout


def ready(port: int) -> None:
    """Wait until somebody listens at that port."""
    ends = time.monotonic() + 60
    while f":{port} " not in (shown := sh("ss", "-Hltn")):
        assert time.monotonic() < ends, shown
        time.sleep(0.2)


def certificates() -> None:
    """An authority that machines trust with a certificate for the name, and one for another."""
    os.chdir(PLACE)
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    sh(
        *new,
        "-noenc",
        "-days",
        "2",
        "-subj",
        "/CN=Authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    )
    for name, host in (("right", HOST), ("wrong", "fs-9999.efs.here.amazonaws.com")):
        sh(
            *(*new, "-noenc", "-days", "2", "-subj", f"/CN={host}", "-CA", "ca.pem"),
            *("-CAkey", "ca.key", "-addext", f"subjectAltName=DNS:{host}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )
        Path(f"{name}.conf").write_text(TLS.format(name=name))
    with Path("/etc/ssl/certs/ca-certificates.crt").open("a") as trusted:
        trusted.write(Path("ca.pem").read_text())


class Unit:
    """The commands of the product's systemd unit, run as systemd would."""

    def __init__(self, text: str) -> None:
        self.lines = [line.partition("=")[::2] for line in text.splitlines() if "=" in line]
        self.main: subprocess.Popen[bytes] | None = None

    def run(self, key: str) -> int:
        codes = [0]
        for name, command in self.lines:
            if name == key:
                words = shlex.split(command.lstrip("-").replace("$$", "$"))
                done = subprocess.run(words, check=False, env=self._environment())
                codes.append(0 if command.startswith("-") else done.returncode)
        return max(codes)

    def start(self) -> int:
        (command,) = [command for name, command in self.lines if name == "ExecStart"]
        self.main = subprocess.Popen(shlex.split(command))
        return self.run("ExecStartPost")

    def _environment(self) -> dict[str, str]:
        """systemd names the main process for as long as it runs."""
        lives = self.main is not None and self.main.poll() is None
        return {**os.environ, **({"MAINPID": str(self.main.pid)} if self.main and lives else {})}

    def lose(self) -> None:
        """The process is killed; systemd runs what stops the unit all the same."""
        assert self.main
        self.main.kill()
        self.main.wait()
        self.run("ExecStop")

    def stop(self) -> None:
        assert self.main
        self.run("ExecStop")
        self.main.terminate()
        self.main.wait()


def mounted() -> str:
    found = subprocess.run(
        ["findmnt", "-no", "FSTYPE,OPTIONS", SHARED_CONFIG],
        check=False,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip()


def main(programs: str) -> None:
    sh("ip", "link", "set", "lo", "up")
    # where this computer has links (/lib), they stay
    packed = ["tar", "-C", programs, "--exclude=./usr/lib/uml", "--exclude=*.uml", "-cf", "-", "."]
    unpack = ["tar", "-C", "/", "--keep-directory-symlink", "-xf", "-"]
    with subprocess.Popen(packed, stdout=subprocess.PIPE) as source:
        subprocess.run(unpack, check=True, stdin=source.stdout)
    Path("/etc/idmapd.conf").write_text("[General]\nDomain = here\n")
    sh("adduser", "--system", "--group", "--no-create-home", "stunnel4")
    (modules,) = Path(programs, "usr/lib/uml/modules").iterdir()
    needs = dict(line.split(":") for line in (modules / "modules.dep").read_text().splitlines())
    client = "kernel/fs/nfs/nfsv4.ko"
    # a module is listed before what it needs
    for name in reversed([client, *needs[client].split()]):
        sh("insmod", modules / name)
    PLACE.mkdir()
    Path("/srv/export").mkdir(parents=True)
    Path("/var/lib/nfs/ganesha").mkdir(parents=True, exist_ok=True)
    certificates()
    (PLACE / "ganesha.conf").write_text(GANESHA)
    environment = {**os.environ, "LD_LIBRARY_PATH": "/usr/lib/ganesha"}
    subprocess.Popen(
        ["ganesha.nfsd", "-F", "-f", "ganesha.conf", "-L", "/run/server/log", "-p", "/run/pid"],
        env=environment,
        cwd=PLACE,
    )
    ready(12049)
    server = subprocess.Popen(["stunnel4", "right.conf"], cwd=PLACE)
    ready(2049)

    # nothing answers at the first address: the second one is taken
    settings = FileSystemSettings(HOST, 2049, ("127.0.0.3", "127.0.0.2"))
    job = machine_job(file_system=settings)
    part = shared_config.part(job)
    unit = Unit("")
    for item in part.items:
        if isinstance(item, File):
            Path(item.path).parent.mkdir(parents=True, exist_ok=True)
            Path(item.path).write_bytes(item.data)
            if item.path.endswith(".service"):
                unit = Unit(item.data.decode())
    Path(SHARED_CONFIG).mkdir(parents=True)

    began = time.monotonic()
    assert unit.start() == 0
    say("FIGURE", f"mounted in {time.monotonic() - began:.1f} s")
    say(mounted())
    kind, options = mounted().split()
    assert kind == "nfs4"
    for option in ("vers=4.1", "noresvport", "hard", "nosuid", "addr=127.0.0.1"):
        assert option in options.split(","), options
    (announce,) = part.steps
    sh("sh", "-c", announce.command, text=announce.secret_input.reveal())
    target = Path(SHARED_CONFIG) / peers.NAME
    assert target.read_bytes() == peers.of_job(job)
    assert target.stat().st_uid == 0
    before = sh("sh", "-c", announce.observe)
    say("SAME", before)

    # stunnel is killed, and comes back: who reads meanwhile waits
    unit.lose()
    assert mounted()
    reader = subprocess.Popen(["sh", "-c", announce.observe], stdout=subprocess.PIPE, text=True)
    assert unit.start() == 0
    assert reader.communicate(timeout=90)[0] == before
    private = Path(SHARED_CONFIG) / "private"
    private.write_text("root's own")
    private.chmod(0o600)
    denied = subprocess.run(
        ["setpriv", "--reuid", "33", "--clear-groups", "cat", private],
        check=False,
        capture_output=True,
    )
    assert denied.returncode != 0

    # the server is gone while something is written: the unit stops all the same
    server.kill()
    server.wait()
    writer = subprocess.Popen(["sh", "-c", f"echo late > {SHARED_CONFIG}/late"])
    time.sleep(1)
    began = time.monotonic()
    unit.stop()
    assert not mounted()
    say("FIGURE", f"let go of a dead server in {time.monotonic() - began:.1f} s")
    writer.kill()

    # a certificate for another name is none
    server = subprocess.Popen(["stunnel4", "wrong.conf"], cwd=PLACE)
    ready(2049)
    unit.lines = [(k, v.replace(" 60 ", " 8 ")) for k, v in unit.lines]
    assert unit.start() != 0
    assert not mounted()
    unit.stop()
    server.kill()
    server.wait()
    server = subprocess.Popen(["stunnel4", "right.conf"], cwd=PLACE)
    ready(2049)
    assert unit.start() == 0
    assert private.read_text() == "root's own"
    unit.stop()
    say("DONE")


def _words(given: Sequence[str]) -> int:
    try:
        main(*given)
    except BaseException as error:
        traceback.print_exc(file=sys.stdout)
        say(getattr(error, "stderr", ""))
        log = PLACE / "log"
        say(log.read_text()[-2000:] if log.exists() else "no log")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_words(sys.argv[1:]))

"""Starts the lab's daemon: `python -m wizard.lab --dir DIR --base TREE`.

Ends with status 0 once the lab is ready and runs on in the background; else with status 1 and the
reason as one line of JSON on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from wizard.errors import BuildUsbError
from wizard.lab import api, files, namespaces

log = logging.getLogger("wizard.lab")

_READY = b"ready"
_START_DEADLINE = 60.0
# a lab that nobody uses ends: a deploy may have been killed before it made anything
_IDLE_SECONDS = 600.0


def main() -> int:
    """Start the daemon in a session of its own; wait until it is ready or has failed."""
    parser = argparse.ArgumentParser(prog="python -m wizard.lab", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder of the lab's state")
    parser.add_argument("--base", type=Path, required=True, help="base tree of its machines")
    parser.add_argument("--owner", default=f"{os.getuid()}:{os.getgid()}", help="UID:GID")
    arguments = parser.parse_args()
    user, _, group = arguments.owner.partition(":")
    folder: Path = arguments.dir.resolve()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        os.setsid()
        try:
            _keep(folder, arguments.base.resolve(), (int(user), int(group)), writing)
        except OSError as error:
            os.write(writing, json.dumps(api.error_body(api.refusal(error))).encode())
        os._exit(0)
    os.close(writing)
    # one write, far below the pipe's capacity; nothing when all writers are gone
    answer = os.read(reading, 65536)
    if answer == _READY:
        return 0
    sys.stdout.write(answer.decode() or json.dumps({"what": "the lab's daemon ended early"}))
    return 1


def _keep(folder: Path, base: Path, owner: tuple[int, int], ready: int) -> None:
    """Be the keeper: run the daemon behind walls, and clean up when it has ended."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / "lab.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchown(lock, *owner)
    end = time.monotonic() + _START_DEADLINE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if (folder / "lab.sock").exists():
                # another start won the race, and its daemon is up
                os.write(ready, _READY)
                return
            if time.monotonic() > end:
                os.write(ready, json.dumps({"what": "another daemon holds the lab"}).encode())
                return
            time.sleep(0.05)
    log_path = folder / "lab.log"
    output = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchown(output, *owner)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level="INFO")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    os.chdir("/")
    os.chown(folder, *owner)
    # the caller's environment may hold secrets, and a daemon outlives its caller
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    os.environ.clear()
    os.environ.update(PATH=path, LANG="C.UTF-8", HOME="/root")
    scratch = folder / "run"
    scratch.mkdir(exist_ok=True)
    (folder / "lab.sock").unlink(missing_ok=True)
    identity = folder.stat()
    name = f"build-usb-lab-{identity.st_dev:x}-{identity.st_ino:x}"

    def daemon(host_network: int) -> None:
        asyncio.run(_serve(folder, base, owner, host_network, ready))

    try:
        namespaces.run_inside(daemon, scratch, name)
    except BuildUsbError as error:
        os.write(ready, json.dumps(api.error_body(error)).encode())
    except OSError as error:
        log.exception("the lab's walls cannot be built")
        os.write(ready, json.dumps(api.error_body(api.refusal(error))).encode())
    finally:
        (folder / "lab.sock").unlink(missing_ok=True)
        if not (folder / "lab.json").exists():
            _forget(folder)


def _forget(folder: Path) -> None:
    """Remove what an unused lab leaves; its base tree and log stay."""
    for entry in folder.iterdir():
        if entry.name in {"base", "lab.lock", "lab.log"}:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    (folder / "lab.lock").unlink(missing_ok=True)


async def _serve(
    folder: Path, base: Path, owner: tuple[int, int], host_network: int, ready: int
) -> None:
    # late: the keeper needs none of it
    from wizard.lab.lab import Lab

    try:
        lab = Lab(folder, base, host_network)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lab.ended.set)
        await lab.start()
        runners = await api.serve(lab, folder / "lab.sock", owner)
    except BuildUsbError as error:
        os.write(ready, json.dumps(api.error_body(error)).encode())
        raise
    except OSError as error:
        os.write(ready, json.dumps(api.error_body(api.refusal(error))).encode())
        raise
    except Exception as error:
        why = f"{error!r}\n{files.tail(folder / 'lab.log')}"
        os.write(ready, json.dumps({"what": "the lab does not start", "why": why}).encode())
        raise
    os.write(ready, _READY)
    os.close(ready)
    idle = asyncio.create_task(_end_when_idle(lab))
    await lab.ended.wait()
    idle.cancel()
    for runner in runners:
        await runner.cleanup()
    await lab.shut_down()
    log.info("the lab has ended")


async def _end_when_idle(lab: object) -> None:
    from wizard.lab.lab import Lab

    assert isinstance(lab, Lab)
    while True:
        await asyncio.sleep(_IDLE_SECONDS / 10)
        if not lab.used() and time.monotonic() - lab.last_used > _IDLE_SECONDS:
            log.info("nobody uses the lab")
            await lab.remove_if_unused()


if __name__ == "__main__":
    sys.exit(main())

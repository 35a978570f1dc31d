"""Run a step (JSON on stdin: name, digest, command, observe, input) and note that it was done."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

APPLIED = Path("/var/lib/build-usb/applied")


def main() -> None:
    """Run the command, observe what it made, keep digests of both; end with its status."""
    step = json.load(sys.stdin)
    done = subprocess.run(
        ["sh", "-c", step["command"]], input=step["input"], text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    seen = subprocess.run(
        ["sh", "-c", step["observe"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    APPLIED.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = APPLIED / f".{step['name']}.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(step["digest"] + " " + hashlib.sha256(seen.stdout).hexdigest())
    new.replace(APPLIED / step["name"])


main()

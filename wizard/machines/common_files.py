"""How a webserver is told to make the plugins and themes that are there those that all have.

Must not import: pyinfra, gevent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from wizard.machines.job import CodeSettings
from wizard.machines.places import LIBRARY

PROGRAM = f"{LIBRARY}/files.py"
"""Where the program is there (machines.remote.files)."""
COMMAND = ("python3", "-I", PROGRAM, "put")


def order(folder: str, passing: Sequence[str], code: CodeSettings, host: str) -> str:
    """Return what the program reads; `host`: the name to ask for afterwards, empty: nobody can
    be asked yet."""
    return json.dumps(
        {
            "folder": folder,
            "passing": passing,
            "digest": code.digest,
            "host": host,
            "health_path": code.health_path,
        }
    )

"""What the wizard's first screen costs: nothing heavy is imported before it is painted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEAVY = {
    "boto3",
    "botocore",
    "cloudflare",
    "cryptography",
    "digitalocean",
    "dns",
    "gevent",
    "httpx",
    "jinja2",
    "paramiko",
    "pydantic",
    "pyinfra",
    "yaml",
}
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from wizard.home.home import Home
from wizard.tui import app

app.SOON = 3600  # what later screens need
home = Path(sys.argv[1])

async def main():
    wizard = app.WizardApp(home, {"TERM": "xterm-256color"})
    async with wizard.run_test(size=(80, 24)) as pilot:
        while not wizard.screen.query("#menu"):
            await pilot.pause(0.01)
        print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))

asyncio.run(main())
"""


def test_the_first_screen_is_painted_without_heavy_libraries(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "deployments" / "demo").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(home)], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "textual" in loaded
    assert loaded & HEAVY == set()

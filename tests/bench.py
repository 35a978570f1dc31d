"""`make bench`: a deployment stage by stage, the front page beside a stock WordPress, the wizard.

Prints Markdown tables for docs/benchmarks.md. Figures depend on the machine, so none is tested;
only the ratio of two things measured side by side means something elsewhere. `--first` also
builds the base tree anew (minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.deployments import REHEARSAL, Rehearsal
from tests.lab.laboratory import Laboratory
from tests.tui import measure
from wizard.providers.base import Machine
from wizard.rules import ANYONE, BUILD_MACHINE, Role, Rule

SECONDS = 10
CONNECTIONS = 16
STOCK = """
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends apache2 libapache2-mod-php >/dev/null
# the module does not enable itself where php-fpm was installed before
php=$(php -r 'echo PHP_MAJOR_VERSION.".".PHP_MINOR_VERSION;')
a2dismod -q mpm_event; a2enmod -q mpm_prefork "php$php"
systemctl start mariadb
mariadb -e "CREATE DATABASE stock; CREATE USER stock@localhost IDENTIFIED BY 'stock';
  GRANT ALL ON stock.* TO stock@localhost"
cat > /etc/wordpress/config-default.php <<'PHP'
<?php
define('DB_NAME', 'stock'); define('DB_USER', 'stock'); define('DB_PASSWORD', 'stock');
define('DB_HOST', 'localhost'); define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
PHP
cat > /etc/apache2/sites-available/000-default.conf <<'CONF'
<VirtualHost *:80>
  DocumentRoot /usr/share/wordpress
  Alias /wp-content /var/lib/wordpress/wp-content
  <Directory /usr/share/wordpress>
    Options FollowSymLinks
    DirectoryIndex index.php
    Require all granted
  </Directory>
  <Directory /var/lib/wordpress/wp-content>
    Options FollowSymLinks
    Require all granted
  </Directory>
</VirtualHost>
CONF
systemctl restart apache2
curl -sf -o /dev/null --data-urlencode 'weblog_title=Stock' -d user_name=admin -d pw_weak=on \\
  -d admin_password=stock -d admin_password2=stock -d admin_email=a@rehearsal.test \\
  -H "Host: $1" "http://127.0.0.1/wp-admin/install.php?step=2"
curl -sf -H "Host: $1" http://127.0.0.1/ | grep -q '<title>Stock</title>'
"""


def main() -> int:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--first", action="store_true", help="also build the base tree anew")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="build-usb-bench-", dir="/var/tmp") as folder:
        print(f"{datetime.now(UTC):%Y-%m-%d}, {machine()}, `make bench`\n")
        try:
            _stages(Path(folder), first=options.first)
            _pages(Path(folder))
        finally:
            Laboratory(Path(folder) / "home" / "lab").clear("stock", "demo")
        _start()
        measure.main()
    return 0


def machine() -> str:
    """Return the computer that is measured, in words."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{os.cpu_count()} x {model[1] if model else '?'}, {memory:.0f} GiB, {name}"


def _rehearsal(folder: Path) -> Rehearsal:
    (folder / "user").mkdir(exist_ok=True)
    return Rehearsal(folder / "home", folder / "user")


def _timed(rehearsal: Rehearsal, *words: str | Path) -> tuple[float, dict[str, float]]:
    started = time.monotonic()
    done = rehearsal.run(*words, "--json")
    seconds = time.monotonic() - started
    last = json.loads(done.stdout.splitlines()[-1])
    return seconds, last["data"]["steps"]


def _stages(folder: Path, *, first: bool) -> None:
    rehearsal = _rehearsal(folder)
    runs: dict[str, tuple[float, dict[str, float]]] = {}
    kept = os.environ.get("BUILD_USB_BASE_TREE")
    if first:
        os.environ["BUILD_USB_BASE_TREE"] = str(folder / "trees")
        runs["first, from nothing"] = _timed(rehearsal, "deploy", REHEARSAL)
        rehearsal.run("destroy", "--yes")
        if kept is None:
            del os.environ["BUILD_USB_BASE_TREE"]
        else:
            os.environ["BUILD_USB_BASE_TREE"] = kept
        shutil.rmtree(folder / "trees")
    runs["base tree cached"] = _timed(rehearsal, "deploy", REHEARSAL)
    runs["again, no change"] = _timed(rehearsal, "deploy", REHEARSAL)
    steps = list(runs["base tree cached"][1])
    print(f"| step (seconds) | {' | '.join(runs)} |")
    print(f"|---|{'---:|' * len(runs)}")
    for step in steps:
        print(f"| {step} | {' | '.join(f'{run[1].get(step, 0):.1f}' for run in runs.values())} |")
    print(f"| **whole command** | {' | '.join(f'**{run[0]:.1f}**' for run in runs.values())} |\n")


def _pages(folder: Path) -> None:
    """Load both front pages from inside the lab, in turn, three times each."""
    rehearsal = _rehearsal(folder)
    lab = Laboratory(rehearsal.home / "lab")
    stock = _stock(lab)
    inside = _lab_process(rehearsal.home / "lab")
    ours = rehearsal.state()
    web = ours.machines["web1"]
    hosts = folder / "hosts"
    hosts.write_text(f"{web.private_address} {ours.hosts[0]}\n{stock.private_address} stock.test\n")
    results: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(3):
        results["ours"].append(_wrk(inside, hosts, f"https://{ours.hosts[0]}/"))
        results["stock"].append(_wrk(inside, hosts, "http://stock.test/"))
    middle = {name: statistics.median(values) for name, values in results.items()}
    print("| front page, wrk on the same 2 cores, 16 connections | requests/s (three runs) |")
    print("|---|---|")
    for name, title in (
        ("ours", "ours: nginx, page cache, HTTPS"),
        ("stock", "Debian's apache2, mod_php, wordpress, HTTP"),
    ):
        print(f"| {title} | {', '.join(f'{value:.0f}' for value in results[name])} |")
    print(f"| **ratio of medians** | **{middle['ours'] / middle['stock']:.0f}** |\n")
    lab.clear("stock")
    started = time.monotonic()
    rehearsal.run("destroy", "--yes")
    print(f"destroy, whole command: {time.monotonic() - started:.1f} s\n")


def _stock(lab: Laboratory) -> Machine:
    rules = (
        Rule(Role.WEBSERVER, 22, BUILD_MACHINE, "bench"),
        Rule(Role.WEBSERVER, 80, ANYONE, "bench"),
    )
    lab.provider.ensure_network("stock")
    lab.provider.ensure_firewall("stock", rules, enabled=True)
    machine = lab.machine("stock", "web1", Role.WEBSERVER)
    client = lab.ssh(machine)
    try:
        stdin, output, errors = client.exec_command("bash -s stock.test")
        stdin.write(STOCK)
        stdin.channel.shutdown_write()
        text = output.read().decode() + errors.read().decode()
        assert output.channel.recv_exit_status() == 0, text
    finally:
        client.close()
    return machine


def _lab_process(lab: Path) -> int:
    own = Path("/proc/self/ns/net").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if str(lab).encode() in words and (process / "ns/net").readlink() != own:
                return int(process.name)
        except OSError:
            continue
    raise RuntimeError(f"no lab runs in {lab}")


def _wrk(process: int, hosts: Path, url: str) -> float:
    """Return requests a second, as asked from inside the lab's network."""
    script = f"mount --bind {hosts} /etc/hosts && exec wrk -t2 -c{CONNECTIONS} -d{SECONDS}s {url}"
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{process}/ns/net", "unshare", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    assert bad is None, done.stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert found, done.stdout
    return float(found[1])


def _start() -> None:
    """The cost of starting: imports of the command line, beside a bare interpreter."""
    code = {"python3 -c pass": "pass", "python3 -c 'import wizard.cli'": "import wizard.cli"}
    print("| start | ms (median of 11) |\n|---|---:|")
    for title, program in code.items():
        times = []
        for _ in range(11):
            started = time.monotonic()
            subprocess.run([sys.executable, "-c", program], check=True)
            times.append((time.monotonic() - started) * 1000)
        print(f"| `{title}` | {statistics.median(times):.0f} |")
    print()


if __name__ == "__main__":
    raise SystemExit(main())

"""What a rehearsal keeps running on this computer; nothing, once it is destroyed.

Other rehearsals may run beside it: only what is the asked one's counts.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.lab.laboratory import Laboratory
from wizard.engine.open import lab_folder

KINDS = frozenset({"processes", "mounts", "namespaces", "cgroups", "listeners"})


def of(home: Path) -> dict[str, set[str]]:
    """Return what there is of the rehearsal in a build home, by kind (of KINDS); {} for nothing.

    Its own are the processes that name the home, those of its lab's control group (all machines),
    and the mounts that name the home wherever they are seen.
    """
    found: dict[str, set[str]] = defaultdict(set)
    lab = lab_folder(home)
    cgroup = Laboratory(lab).cgroup() if lab.is_dir() else None
    if cgroup is not None and cgroup.exists():
        found["cgroups"].add(str(cgroup))
    own_network = Path("/proc/self/ns/net").readlink()
    sockets: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            for line in (process / "mountinfo").read_text().splitlines():
                if str(home) in line:
                    found["mounts"].add(line.split()[4])
            groups = (process / "cgroup").read_text()
            inside = cgroup is not None and f"/{cgroup.name}" in groups
            if not inside and not any(str(home) in word for word in words):
                continue
            found["processes"].add(" ".join(words))
            network = (process / "ns" / "net").readlink()
            if network != own_network:
                found["namespaces"].add(str(network))
            sockets.update(_sockets(process))
        except OSError:
            continue  # ended while it was looked at
    found["listeners"] |= {address for inode, address in _listeners() if inode in sockets}
    return {kind: things for kind, things in found.items() if things}


def _sockets(process: Path) -> Iterator[str]:
    for descriptor in (process / "fd").iterdir():
        try:
            target = os.fspath(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def _listeners() -> Iterator[tuple[str, str]]:
    """Give inode and address of what listens in the computer's own network."""
    for table in ("/proc/net/tcp", "/proc/net/udp"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            # 0A is TCP's LISTEN, 07 UDP's unconnected
            if fields[3] in ("0A", "07"):
                yield fields[9], fields[1]

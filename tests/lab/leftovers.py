"""What a deployment could leave behind on this computer, listed so as to be compared."""

from __future__ import annotations

from pathlib import Path


def present(marker: str) -> dict[str, set[str]]:
    """Return processes, mounts, network namespaces and cgroups that belong to `marker`.

    `marker` is a path (a build home): processes and mounts that name it are its own. Namespaces
    and cgroups carry no such name, so all of the computer's are returned.
    """
    found: dict[str, set[str]] = {
        "processes": set(),
        "mounts": set(),
        "namespaces": set(),
        "cgroups": set(),
        "listeners": set(),
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(marker in word for word in words):
                found["processes"].add(" ".join(words))
            for line in (process / "mountinfo").read_text().splitlines():
                if marker in line:
                    found["mounts"].add(line.split()[4])
            found["namespaces"].add(str((process / "ns" / "net").readlink()))
        except OSError:
            continue  # ended while it was looked at
    for top in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        found["cgroups"] |= {str(path) for path in top.glob("**/") if "build-usb" in path.name}
    for table in ("/proc/net/tcp", "/proc/net/udp"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, _, state = line.split()[1:4]
            # 127.77.x.y, least significant byte first; 0A is TCP's LISTEN, 07 UDP's unconnected
            if local[4:8] == "4D7F" and state in ("0A", "07"):
                found["listeners"].add(local)
    return found


def new_since(before: dict[str, set[str]], marker: str) -> dict[str, set[str]]:
    """Return what is present now and was not before, by kind; empty when nothing was left."""
    after = present(marker)
    return {kind: after[kind] - before[kind] for kind in after if after[kind] - before[kind]}

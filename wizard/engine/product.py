"""Packs Build USB with what it needs to run for machines: one archive, carried by us, so that no
package index is needed at the moment a machine becomes an autoscaler.

Machines have Debian 13's Python. Where ours is of the same version our own installed packages are
packed, else the same releases made for theirs, got once by pip with their checksums.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import wizard
from wizard.errors import NotSupportedError, ProviderError
from wizard.events import Progress
from wizard.home.files import make_folder, write_atomic
from wizard.paths import config_templates, hooks, requirements

PYTHON = (3, 13)
"""The machines' Python: Debian 13's."""
FOLDER = "product/"
"""Where in the deployment's bucket the archive is, named by its SHA-256."""
_OWN = "build-usb"
# what only people in front of a screen need, and stubs
_LEFT_OUT = {"textual", "rich", "segno", "zxcvbn", "types-paramiko"}
# 38 MB that only its customers need
_WITH_DNS = {"cloudflare": "cloudflare"}
_AMAZON = ("aws", "route53")
# descriptions of Amazon's services, 25 MB of them; any object storage needs that of S3
_SERVICE = re.compile(r"botocore/data/(?!s3/)[^/]+/")
_NOT_RUN = (".pyc", ".c", ".h", ".pyx", ".pxd", ".pyi")
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_34")
_PIP_SECONDS = 600


@dataclass(frozen=True)
class Product:
    """The archive (tar, gzip; modules at its top) and its SHA-256."""

    path: Path
    digest: str

    @property
    def key(self) -> str:
        """Return its key in the bucket."""
        return f"{FOLDER}{self.digest}.tar.gz"


def packed(cache: Path, vendors: Collection[str], machine: str, progress: Progress) -> Product:
    """Return the archive for machines of the architecture `machine` (such as x86_64) that deal
    with these `vendors`, packed anew when the program or a package has changed.

    Raises NotSupportedError where it cannot be packed."""
    wanted = _packages(vendors)
    amazon = any(name in vendors for name in _AMAZON)
    own = dict(_own_files())
    known = hashlib.sha256(repr((PYTHON, machine, wanted, amazon)).encode())
    for name, source in sorted(own.items()):
        known.update(f"{name} {hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    path = cache / f"product-{known.hexdigest()[:16]}.tar.gz"
    if not path.is_file():
        make_folder(cache)
        progress("packing the program for autoscalers", 0, 1)
        others = {
            name: data
            for name, data in _contents(wanted, machine, cache)
            if not name.endswith(_NOT_RUN) and (amazon or not _SERVICE.match(name))
        }
        data = _archive(own, others)
        for old in cache.glob("product-*.tar.gz"):
            old.unlink()
        write_atomic(path, data)
    return Product(path, hashlib.sha256(path.read_bytes()).hexdigest())


def _packages(vendors: Collection[str]) -> dict[str, str]:
    """Return the releases of all packages that are needed, as they are installed here."""
    left_out = _LEFT_OUT | {p for p, name in _WITH_DNS.items() if name not in vendors}
    found: dict[str, str] = {}
    waiting = _needs(_OWN)
    while waiting:
        name = waiting.pop()
        if name in left_out or name in found:
            continue
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # needed by other systems or other versions of Python only
        waiting += _needs(name)
    return dict(sorted(found.items()))


def _needs(name: str) -> list[str]:
    lines = importlib.metadata.requires(name) or []
    plain = [line for line in lines if "extra ==" not in line]
    return [_normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in plain]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _own_files() -> Iterator[tuple[str, Path]]:
    package = Path(wizard.__file__).parent
    for source in package.rglob("*.py"):
        yield f"wizard/{source.relative_to(package)}", source
    for folder in (config_templates(), hooks()):
        for source in folder.rglob("*"):
            if source.is_file():
                yield f"wizard/_data/{folder.name}/{source.relative_to(folder)}", source


def _contents(wanted: dict[str, str], machine: str, cache: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file of the packages: name and content."""
    if sys.version_info[:2] == PYTHON:
        for name in wanted:
            for file in importlib.metadata.files(name) or ():
                place = Path(str(file.locate()))
                if ".." not in file.parts and place.is_file():
                    yield str(file), place.read_bytes()
        return
    for wheel in _wheels(wanted, machine, cache):
        with zipfile.ZipFile(wheel) as packed_wheel:
            for info in packed_wheel.infolist():
                # what goes elsewhere than into the folder of modules: scripts, headers
                if not info.is_dir() and ".data/" not in info.filename:
                    yield info.filename, packed_wheel.read(info)


def _wheels(wanted: dict[str, str], machine: str, cache: Path) -> list[Path]:
    listed = _with_checksums(wanted)
    folder = cache / f"wheels-{hashlib.sha256((listed + machine).encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return sorted(folder.glob("*.whl"))
    with tempfile.TemporaryDirectory(dir=cache, prefix="wheels.") as partial:
        asked = Path(partial) / "requirements.txt"
        asked.write_text(listed)
        short = "".join(map(str, PYTHON))
        abis = [word for abi in (f"cp{short}", "abi3", "none") for word in ("--abi", abi)]
        platforms = [w for name in _PLATFORMS for w in ("--platform", f"{name}_{machine}")]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--disable-pip-version-check", "--only-binary=:all:", "--require-hashes",
                   "--python-version", ".".join(map(str, PYTHON)), "--implementation", "cp",
                   *abis, *platforms, "--dest", partial, "--requirement", str(asked)]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PIP_SECONDS
        )
        if done.returncode != 0:
            raise ProviderError(
                "the packages that autoscalers need cannot be got",
                where=f"pip, for Python {'.'.join(map(str, PYTHON))} on {machine}",
                why="\n".join(done.stderr.splitlines()[-10:]),
                cure="check the network and run again; they are kept in the build home afterwards",
            )
        asked.unlink()
        for old in cache.glob("wheels-*"):
            for wheel in old.iterdir():
                wheel.unlink()
            old.rmdir()
        Path(partial).chmod(0o700)
        Path(partial).rename(folder)
        Path(partial).mkdir()  # what is taken away at the end
    return sorted(folder.glob("*.whl"))


def _with_checksums(wanted: dict[str, str]) -> str:
    """Return the lines of requirements.txt for these packages, their checksums included."""
    file = requirements()
    if not file.is_file():
        raise NotSupportedError(
            "autoscalers cannot be given the program from here",
            where=str(file),
            why=f"machines have Python {'.'.join(map(str, PYTHON))}, this computer another, and "
            "the list of packages with their checksums is not installed",
            cure="run it from the stick, or from a checkout",
        )
    entries = re.split(r"\n(?=\S)", file.read_text().replace("\\\n", " "))
    by_name = {_normal(entry.partition("==")[0].strip()): entry for entry in entries}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise NotSupportedError(
            "autoscalers cannot be given the program from here",
            where=str(file),
            why=f"packages without a checksum: {', '.join(missing)}",
            cure="install the releases that the list names, and nothing beside",
        )
    return "".join(by_name[name].partition("#")[0].rstrip() + "\n" for name in wanted)


def _archive(own: dict[str, Path], others: dict[str, bytes]) -> bytes:
    files = {name: source.read_bytes() for name, source in own.items()}
    files |= others
    packed_files = io.BytesIO()
    # no times, no names of ours: the same files are the same bytes
    with (
        gzip.GzipFile(fileobj=packed_files, mode="wb", compresslevel=6, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed_files.getvalue()

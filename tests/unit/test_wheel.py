"""What a person gets who installs the wheel instead of cloning the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from wizard import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = ("config-templates", "hooks")


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel in it, and our dependencies, but not the checkout."""
    venv = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    own = next(venv.glob("lib/python3*/site-packages"))
    # a folder named in a .pth file has its own .pth files ignored, the checkout's among them
    own.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install",
         "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    return venv


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [installed / "bin" / words[0], *words[1:]],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        cwd=installed,
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )


def test_every_shipped_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for shipped in SHIPPED:
        found = files_of(CHECKOUT / shipped)
        assert found
        assert {f"wizard/_data/{shipped}/{name}" for name in found} - names == set()


def test_every_module_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"wizard/{name}" for name in files_of(CHECKOUT / "wizard") if "pycache" not in name}
    assert modules - names == set()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"wizard", f"build_usb-{__version__}.dist-info"}


def test_the_installed_command_is_not_the_checkouts(installed: Path) -> None:
    code = (
        "import wizard.paths as p; print(p.__file__); print(p.config_templates()); print(p.hooks())"
    )
    for line in run(installed, "python", "-c", code).stdout.splitlines():
        assert Path(line).is_relative_to(installed), line


def test_what_is_shipped_is_found_inside_the_package(installed: Path) -> None:
    for shipped in SHIPPED:
        code = f"import wizard.paths as p; print(p.{shipped.replace('-', '_')}())"
        folder = Path(run(installed, "python", "-c", code).stdout.strip())
        assert files_of(folder) == files_of(CHECKOUT / shipped)


def test_the_installed_command_works(installed: Path) -> None:
    assert run(installed, "build-usb", "--version").stdout == f"build-usb {__version__}\n"
    assert json.loads(run(installed, "build-usb", "schema").stdout)["type"] == "object"
    (rehearsal,) = installed.glob("lib/**/answers/rehearsal.yaml")
    assert "right; wordpress" in run(installed, "build-usb", "validate", str(rehearsal)).stderr
    home = installed / "home"
    plan = run(installed, "build-usb", "plan", "--home", str(home), "--json", str(rehearsal))
    assert json.loads(plan.stdout)["machines"]


def test_the_agent_is_made_from_the_installed_package(installed: Path) -> None:
    code = "from wizard.machines.agent_zipapp import build; print(len(build()))"
    assert int(run(installed, "python", "-c", code).stdout) > 10_000

"""The files that the image is made of, without building it: shell, menu, lists of modules."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wizard.stick.__main__ import COMMANDS

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGE = CHECKOUT / "image"
SYSTEM = IMAGE / "live/config/includes.chroot_after_packages"
OURS = [CHECKOUT / "build-image.sh", *(path for path in IMAGE.rglob("*") if path.is_file())]


def words_of(path: Path) -> list[str]:
    lines = (line.partition("#")[0] for line in path.read_text().splitlines())
    return " ".join(lines).split()


def shell_scripts() -> list[Path]:
    started = re.compile(rb"#!/(usr/bin/env (ba)?sh|bin/(ba)?sh)\n|# shellcheck shell=")
    return [path for path in OURS if started.match(path.read_bytes()[:64])]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shell_files_pass_shellcheck() -> None:
    scripts = shell_scripts()
    assert len(scripts) > 20
    run = subprocess.run(
        ["shellcheck", "--external-sources", *scripts],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_scripts_that_are_run_may_be_run() -> None:
    called = [CHECKOUT / "build-image.sh", IMAGE / "live/auto/config"]
    called += (IMAGE / "live/config/hooks/normal").iterdir()
    called += [p for p in (IMAGE / "product/usr/lib/build-usb").iterdir() if p.suffix == ""]
    called += (SYSTEM / "etc/initramfs-tools/hooks").iterdir()
    called.remove(IMAGE / "product/usr/lib/build-usb/environment")
    assert [path for path in called if not os.access(path, os.X_OK)] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--what"], "unknown option or word: --what"),
        (["--try", "efi"], "unknown option or word: efi"),
        (["--flavour"], "--flavour needs a name"),
        (["--flavour", "big"], "no such flavour: big"),
        (["--write"], "--write needs the stick's device"),
        (["--write", "--anew"], "--write needs the stick's device"),
        (["--anew"], "--anew belongs to --write"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(words: list[str], said: str) -> None:
    ended = subprocess.run(
        [CHECKOUT / "build-image.sh", *words], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"error: {said}")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("dpkg"), reason="needs root, and Debian")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs the image's kind of processor")
def test_what_is_no_stick_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    places = {
        "BUILD_USB_IMAGE_CACHE": tmp_path / "cache",
        "BUILD_USB_IMAGE_DIST": tmp_path / "dist",
    }
    ended = subprocess.run(
        [CHECKOUT / "build-image.sh", "--write", "/dev/null"],
        env={**os.environ, **{name: str(path) for name, path in places.items()}},
        # from elsewhere, as a person may call it
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "error: /dev/null is not a disk\n"
    assert list(tmp_path.iterdir()) == []


def test_no_file_names_a_mirror_or_an_index() -> None:
    host = re.compile(r"https?://(?!\$)[\w.-]+", re.I)
    found = {str(path): host.findall(path.read_text(errors="replace")) for path in OURS}
    assert {path: hosts for path, hosts in found.items() if hosts} == {}


def test_every_boot_entry_is_isolated() -> None:
    menu = (IMAGE / "medium/grub.cfg").read_text()
    entries = re.findall(r'menuentry "([^"]+)"[^{]*\{\n(.*?)\n\s*\}', menu, re.S)
    assert len(entries) == 8
    for title, body in entries:
        assert body.strip().startswith("start ") or title == "Firmware settings"
    # the only place that starts the kernel
    assert menu.count("linux /live/vmlinuz $common") == menu.count("linux ") == 1
    common = words_of(IMAGE / "medium/kernel-command-line")
    assert {"boot=live", "nopersistence", "noresume", "systemd.swap=0"} <= set(common)
    drivers = words_of(IMAGE / "medium/internal-disk-drivers")
    assert {"nvme", "ahci", "virtio_blk", "mmc_block"} <= set(drivers)
    # the kernel reads no more than 2048 bytes
    assert len(" ".join(common)) + len(",".join(drivers)) < 1600


def test_the_initramfs_loads_no_driver_of_internal_disks_and_no_journal() -> None:
    modules = set(words_of(SYSTEM / "etc/initramfs-tools/modules"))
    drivers = set(words_of(IMAGE / "medium/internal-disk-drivers"))
    journalling = {"ext3", "ext4", "jbd2", "xfs", "btrfs", "f2fs", "jfs", "reiserfs", "ntfs3"}
    assert {"usb_storage", "uas", "isofs", "squashfs", "overlay"} <= modules
    assert modules & (drivers | journalling) == set()


def test_units_call_programs_that_exist() -> None:
    for unit in (IMAGE / "product/etc/systemd/system").rglob("*"):
        if unit.is_file():
            for program in re.findall(
                r"^Exec\w+=\W*(/usr/lib/build-usb/\S+)", unit.read_text(), re.M
            ):
                assert (IMAGE / "product" / program.lstrip("/")).is_file(), (unit, program)


def test_what_of_the_helper_is_called_before_the_wizard_is_there() -> None:
    scripts = "".join(path.read_text() for path in shell_scripts())
    called = set(re.findall(r"/usr/lib/build-usb/stick ([a-z-]+)", scripts))
    assert called == {"apply-remembered"}
    assert called <= set(COMMANDS)


def image_tests() -> dict[str, set[str]]:
    """Return the names of all tests of the image, with the words of their parameters."""
    return {
        node.name: {
            part.value
            for decorator in node.decorator_list
            for part in ast.walk(decorator)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        }
        for path in (CHECKOUT / "tests/image").glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_promise_of_isolation_names_tests_that_there_are() -> None:
    there = image_tests()
    text = (CHECKOUT / "docs/isolation.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", text, re.M)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 12
    unproved = [number for number, tests in rows if "`test_" not in tests]
    named = re.findall(r"`(test_\w+)(?:\[([^]]*)\])?`", text)
    missing = [
        name if name not in there else f"{name}[{words}]"
        for name, words in named
        if name not in there or (words and words not in there[name])
    ]
    assert (unproved, missing) == ([], [])


def test_a_second_build_knows_the_commits_of_a_worktree(tmp_path: Path) -> None:
    """Whose .git is a file with a relative path; the build is one that makes only the time."""
    project, iso = tmp_path / "worktree", tmp_path / "worktree/dist/made.iso"
    (project / "image").mkdir(parents=True)
    shutil.copy(IMAGE / "compare.sh", project / "image")
    build = project / "build-image.sh"
    build.write_text(
        '#!/bin/sh\nset -eu\ncd "$(dirname "$0")"\nmkdir -p "$BUILD_USB_IMAGE_DIST"\n'
        'git log -1 --format=%ct > "$BUILD_USB_IMAGE_DIST/made.iso"\n'
    )
    build.chmod(0o755)
    git = ["git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "--message", "one"]):
        subprocess.run([*git, *words], check=True)
    (project / ".git").rename(tmp_path / "kept")
    (project / ".git").write_text("gitdir: ../kept\n")
    iso.parent.mkdir()
    iso.write_bytes(subprocess.run([*git, "log", "-1", "--format=%ct"], check=True,
                                   capture_output=True).stdout)  # fmt: skip
    run = subprocess.run(
        ["bash", project / "image/compare.sh", iso], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("The same, bit for bit: ")

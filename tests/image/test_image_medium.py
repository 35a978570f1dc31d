"""What can be seen of the image without starting it: partitions, boot chain, menu, both layers."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image import initramfs, signatures
from tests.image.image import Image
from tests.image.internal_disks import digest, run
from wizard.lab.basetree import sources

pytestmark = pytest.mark.image

ROOT = Path(__file__).parents[2]
ESP, DATA = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
LAYERS = ("filesystem", "product")
MASKED = {
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "systemd-firstboot.service",
    "systemd-hibernate.service", "systemd-networkd.service", "systemd-networkd.socket",
    "systemd-pstore.service", "systemd-suspend.service",
}  # fmt: skip
# everything that starts by itself; whoever adds one says so here, and why it may
STARTED = {
    "NetworkManager.service", "NetworkManager-dispatcher.service", "build-usb-boot.service",
    "build-usb-headless.service", "build-usb-painted.service", "build-usb-shell.service",
    "build-usb-speech.service", "build-usb-wizard.service", "nftables.service", "remote-fs.target",
    "systemd-timesyncd.service", "wpa_supplicant.service",
}  # fmt: skip
# programs with more rights than whoever starts them: of Debian's essential packages, sudo, polkit
PRIVILEGED = {
    "chage", "chfn", "chsh", "dbus-daemon-launch-helper", "expiry", "gpasswd", "mount", "newgrp",
    "passwd", "polkit-agent-helper-1", "pkexec", "ssh-agent", "ssh-keysign", "su", "sudo", "umount",
    "unix_chkpwd",
}  # fmt: skip


@pytest.fixture(scope="session")
def root(image: Image) -> Path:
    """Debian's part, unpacked."""
    return image.layer("filesystem")


def entries(image: Image) -> Iterator[tuple[str, Path]]:
    """Yield everything in both layers: its path from the root, and where it is now."""
    for name in LAYERS:
        layer = image.layer(name)
        for path in layer.rglob("*"):
            yield str(path.relative_to(layer)), path


def test_partitions(image: Image) -> None:
    system, esp, answers, *gaps = image.partitions
    assert esp.kind == ESP
    assert answers.kind == DATA
    assert answers.size == 64 * 2**20
    assert all(gap.size < 2**20 for gap in gaps)
    starts = [part.start for part in image.partitions]
    assert starts == sorted(starts)
    # the first partition is a file system of its own: the others stay usable while it is mounted
    assert system.start > 0
    with image.iso.open("rb") as file:
        file.seek(system.start + 16 * 2048 + 1)
        assert file.read(5) == b"CD001"
    assert "BUILDUSB" in run("xorriso", "-indev", image.iso, "-pvd_info")


def test_what_firmware_starts(image: Image) -> None:
    said = run("xorriso", "-indev", image.iso, "-report_el_torito", "plain",
               "-report_system_area", "plain")  # fmt: skip
    assert re.search(r"boot img .* BIOS +y +none", said)
    assert re.search(r"boot img .* UEFI +y +none", said)
    assert re.search(r"System area summary:.* grub2-mbr .*GPT", said)


def test_answers_partition(image: Image) -> None:
    place = image.fat(image.iso, 3)
    assert "ANSWERS" in run("mlabel", "-s", "-i", place)
    readme = run("mtype", "-i", place, "::/README.txt")
    assert readme == (ROOT / "image/medium/answers/README.txt").read_text()
    assert run("mdir", "-b", "-i", place).split() == ["::/README.txt"]


def test_signatures_of_the_boot_chain(image: Image, tmp_path: Path) -> None:
    place = image.fat(image.iso, 2)
    run("mcopy", "-n", "-s", "-i", place, "::/EFI", tmp_path)
    boot = tmp_path / "EFI/boot"
    shim = boot / "bootx64.efi"
    listed = run("sbverify", "--list", shim)
    assert "Microsoft Corporation UEFI CA 2011" in listed
    debian = signatures.authority(shim, tmp_path)
    kernel = image.medium / "live/vmlinuz"
    for program in (boot / "grubx64.efi", boot / "mmx64.efi", kernel):
        assert "verification OK" in run("sbverify", "--cert", debian, program)
    altered = tmp_path / "altered"
    data = bytearray(kernel.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)
    refused = subprocess.run(["sbverify", "--cert", debian, altered], check=False,
                             capture_output=True)  # fmt: skip
    assert refused.returncode != 0


def test_menu(image: Image) -> None:
    assert "\nset timeout=5\n" in image.menu
    assert "\nset default=0\n" in image.menu
    assert "@" not in re.sub(r"\$@", "", image.menu)
    assert list(image.entries) == ["w", "m", "h", "l", "s", "g", "c"]
    assert "serial --unit=0 --speed=115200" in image.menu
    # a `linux` line that is not `start`'s could leave the isolation out
    assert image.menu.count("linux ") == 1


def test_every_entry_is_isolated(image: Image) -> None:
    drivers = (ROOT / "image/medium/internal-disk-drivers").read_text().splitlines()
    blacklist = ",".join(line for line in drivers if line and not line.startswith("#"))
    for words in image.entries.values():
        assert f"module_blacklist={blacklist}" in words
        for word in ("nopersistence", "noresume", "nofstab", "systemd.swap=0", "systemd.gpt_auto=0",
                     "efi_pstore.pstore_disable=1"):  # fmt: skip
            assert word in words
        assert not {"persistence", "swap", "swapon"} & set(words)


def test_blacklist_names_drivers_that_there_are(image: Image, root: Path) -> None:
    """A name that no driver has keeps nothing out; those of other processors are not asked."""
    (version,) = (root / "usr/lib/modules").iterdir()
    names = {path.name.split(".ko")[0].replace("-", "_") for path in version.rglob("*.ko*")}
    names |= {
        Path(line).stem.replace("-", "_")
        for line in (version / "modules.builtin").read_text().splitlines()
    }
    (word,) = (w for w in image.entries["w"] if w.startswith("module_blacklist="))
    listed = word.partition("=")[2].split(",")
    must = {"nvme", "nvme_core", "ahci", "libahci", "ata_piix", "vmd", "virtio_blk", "mmc_block"}
    assert must <= set(listed)
    assert must <= names
    assert not must & {
        Path(line).stem for line in (version / "modules.builtin").read_text().split()
    }


def test_initramfs(image: Image) -> None:
    inside = initramfs.files(image.medium / "live/initrd.img")
    modules = {Path(name).name.split(".ko")[0] for name in inside if ".ko" in name}
    assert {"usb-storage", "uas", "xhci-pci", "isofs", "squashfs", "overlay"} <= modules
    forbidden = {
        "ext4", "jbd2", "xfs", "btrfs", "f2fs", "jfs", "reiserfs", "ntfs3", "hfsplus", "nilfs2",
        "gfs2", "ocfs2", "nvme", "nvme-core", "ahci", "libahci", "libata", "ata_piix", "virtio_blk",
        "virtio_scsi", "mmc_block", "sdhci", "vmd", "dm-mod", "raid1", "md-mod", "nfs",
    }  # fmt: skip
    assert not modules & forbidden
    rule = (ROOT / "image/live/config/includes.chroot_after_packages" / initramfs.RULE).read_bytes()
    assert inside[initramfs.RULE] == rule
    assert "usr/lib/build-usb/hold-read-only" in inside
    assert any(name.endswith("sbin/blockdev") for name in inside)
    base = inside["conf/uuid.conf"]
    assert base == (image.medium / ".disk/live-uuid-build-usb").read_bytes()
    programs = {Path(name).name for name in inside if "bin/" in name}
    assert not {"lvm", "mdadm", "zpool", "cryptsetup", "fsck.ext4", "e2fsck"} & programs


def test_checksums_on_the_medium(image: Image) -> None:
    run("sh", "-c", f"cd {image.medium} && sha256sum --quiet --strict -c sha256sum.txt")
    listed = {line.split("  ./")[1] for line in
              (image.medium / "sha256sum.txt").read_text().splitlines()}  # fmt: skip
    there = {str(p.relative_to(image.medium)) for p in image.medium.rglob("*") if p.is_file()}
    # boot code that the writing of the ISO changes; the list itself
    unlisted = {"boot/grub/grub_eltorito", "sha256sum.txt", "boot.catalog", "boot/grub/boot.cat"}
    assert there - listed <= unlisted
    assert listed <= there


def test_sums_and_manifest_beside_the_image(image: Image, root: Path) -> None:
    manifest = image.iso.with_suffix(".packages")
    sums = image.iso.with_name("SHA256SUMS")
    if not sums.exists():
        pytest.skip("BUILD_USB_IMAGE names an image without SHA256SUMS beside it")
    assert f"{digest(image.iso)}  {image.iso.name}\n" in sums.read_text()
    assert f"{digest(manifest)}  {manifest.name}\n" in sums.read_text()
    rows = [line.split("\t") for line in manifest.read_text().splitlines()[1:]]
    assert all(len(row) == 4 and all(row) for row in rows)
    listed = {(name, version) for name, version, _, origin in rows if origin == "Debian"}
    status = (root / "var/lib/dpkg/status").read_text()
    installed = set()
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            installed.add((fields["Package"], fields["Version"]))
    assert {(name.partition(":")[0], version) for name, version in listed} == installed
    ours = {name.lower() for name, _, _, origin in rows if origin == "PyPI"}
    assert {"build-usb", "textual", "pydantic", "pyinfra"} <= ours
    assert not {"moto", "pytest", "mypy"} & ours


def test_units(image: Image) -> None:
    started, masked = set(), set()
    for name, path in entries(image):
        if not name.startswith("etc/systemd/system/") or not path.is_symlink():
            continue
        target = path.readlink()
        if str(target) == "/dev/null":
            masked.add(path.name)
        elif ".wants/" in name or ".requires/" in name:
            started.add(path.name)
    assert masked >= MASKED
    assert started - masked <= STARTED
    assert not any(path.name.startswith("live-config") for _, path in entries(image))


def test_programs_with_more_rights(image: Image) -> None:
    found = {
        path.name
        for _, path in entries(image)
        if path.is_file() and not path.is_symlink()
        and path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    }  # fmt: skip
    assert found <= PRIVILEGED


def test_files_that_everybody_may_write(image: Image) -> None:
    found = {
        name
        for name, path in entries(image)
        if not path.is_symlink() and path.lstat().st_mode & stat.S_IWOTH
        and not path.lstat().st_mode & stat.S_ISVTX and not stat.S_ISCHR(path.lstat().st_mode)
    }  # fmt: skip
    assert not found


def test_hardware_clock_is_left_alone(root: Path) -> None:
    assert (root / "etc/adjtime").read_text().splitlines()[2] == "LOCAL"
    assert not list(root.glob("etc/cron*/*hwclock*"))
    assert not (root / "usr/lib/udev/rules.d/85-hwclock.rules").exists()


def test_nothing_that_assembles_or_mounts_disks(root: Path) -> None:
    for name in ("lvm", "mdadm", "zpool", "btrfs", "udisksctl", "ntfs-3g", "os-prober", "swapspace",
                 "efibootmgr", "grub-install", "hdparm", "nvme", "sg_raw"):  # fmt: skip
        assert not any((root / folder / name).exists() for folder in ("usr/bin", "usr/sbin")), name
    fstab = root / "etc/fstab"
    lines = fstab.read_text().splitlines() if fstab.exists() else []
    assert not [line for line in lines if line.strip() and not line.startswith("#")]
    assert not (root / "etc/crypttab").exists()


def test_nobody_can_log_in(image: Image, root: Path) -> None:
    shadow = [line.split(":")[:2] for line in (root / "etc/shadow").read_text().splitlines()]
    assert all(password[:1] in ("!", "*") for _, password in shadow), shadow
    assert {"root", "wizard"} <= {name for name, _ in shadow}
    users = {line.split(":")[0]: line.split(":") for line in
             (root / "etc/passwd").read_text().splitlines()}  # fmt: skip
    assert [name for name, fields in users.items() if fields[2] == "0"] == ["root"]
    assert users["wizard"][2] == "1000"
    powerful = {"sudo", "adm", "disk", "shadow", "root", "netdev", "kmem", "staff"}
    for line in (root / "etc/group").read_text().splitlines():
        name, _, _, members = line.split(":")
        assert "wizard" not in members.split(",") or name not in powerful, name
    rules = [
        line
        for _, path in entries(image)
        if path.is_file() and (path.name == "sudoers" or path.parent.name == "sudoers.d")
        for line in path.read_text().splitlines()
        if re.match(r"[^#@]", line) and not line.startswith("Defaults")
    ]
    assert "wizard ALL=(root) NOPASSWD: /usr/lib/build-usb/stick" in rules
    others = {rule.split()[0] for rule in rules} - {"wizard"}
    assert others <= {"root", "%sudo"}, rules
    assert sum("wizard" in rule for rule in rules) == 1
    assert not any("authorized_keys" in name for name, _ in entries(image))


def test_nothing_of_the_computer_that_built(image: Image, root: Path) -> None:
    names = {name for name, _ in entries(image)}
    assert not [name for name in names if re.match(r"etc/ssh/ssh_host_", name)]
    assert not [name for name in names if name.startswith("var/log/") and
                (root / name).is_file()]  # fmt: skip
    assert not [name for name in names if "/.cache/" in name or re.search(r"/pip(-|/cache)", name)]
    assert not [name for name in names if name.startswith(("var/lib/apt/lists/", "var/cache/apt/"))]
    assert (root / "etc/machine-id").read_bytes() == b""
    assert (root / "etc/resolv.conf").read_text() == ""
    assert not list((root / "root/.ssh").glob("*"))
    assert not (root / "etc/pip.conf").exists()
    assert not list((root / "etc/apt/sources.list.d").glob("*"))
    listed = (root / "etc/apt/sources.list").read_text()
    assert all(line.startswith("#") for line in listed.splitlines())
    # what the computer that builds is set up with: mirrors, indexes, proxies
    said = "\n".join(
        (*sources(), run("apt-config", "dump"), run(sys.executable, "-m", "pip", "config", "list"))
    )
    addresses = {host.encode() for host in re.findall(r"https?://([^/\s\"';]+)", said)}
    assert addresses
    # where programs of Debian may name its own servers is not looked
    kept = (
        r"etc/(apt|pip|build-usb|systemd|NetworkManager|hosts|resolv)|opt/build-usb/bin|root/|home/"
    )
    for name, path in entries(image):
        if path.is_symlink() or not path.is_file():
            continue
        if re.match(kept, name) or ".dist-info/" in name:
            data = path.read_bytes()
            assert not [address for address in addresses if address in data], name


def test_settings_that_keep_secrets_in_memory(root: Path) -> None:
    journal = (root / "etc/systemd/journald.conf.d/build-usb.conf").read_text()
    assert "Storage=volatile" in journal
    limits = (root / "etc/sysctl.d/90-build-usb.conf").read_text()
    assert "kernel.core_pattern = |/bin/false" in limits
    assert not (root / "var/log/journal").exists()


def test_firewall_and_network(root: Path) -> None:
    rules = (root / "etc/nftables.conf").read_text()
    assert "hook input priority filter; policy drop;" in rules
    assert "dport 22" not in rules
    manager = (root / "etc/NetworkManager/conf.d/build-usb.conf").read_text()
    assert "ethernet.cloned-mac-address=random" in manager
    assert "wifi.scan-rand-mac-address=yes" in manager
    assert not any(
        (root / "usr/sbin" / name).exists() for name in ("sshd", "rpcbind", "avahi-daemon")
    )


def test_font_of_the_consoles(image: Image, root: Path) -> None:
    """What sets it is there, fonts too, and in the place of Debian's rule, whose font is not."""
    product = image.layer("product")
    rule = "udev/rules.d/90-console-setup.rules"
    assert (root / "usr/lib" / rule).is_file()
    (program,) = re.findall(r'RUN\+="/([^"]*)"', (product / "etc" / rule).read_text())
    assert (product / program).stat().st_mode & stat.S_IXUSR
    fonts = re.findall(r"\$fonts/(\S+)", (product / program).read_text())
    assert len(fonts) == 2
    assert all((root / "usr/share/consolefonts" / font).is_file() for font in fonts)


def test_product_starts_in_its_layer(image: Image) -> None:
    """The wheels fit the image's Python: every native module of the product is for it."""
    site = next((image.layer("product") / "opt/build-usb/lib").glob("python3*/site-packages"))
    version = site.parent.name.removeprefix("python").replace(".", "")
    native = [path.name for path in site.rglob("*.so") if "cpython-" in path.name]
    assert native
    assert all(f"cpython-{version}-" in name for name in native)
    assert (site / "wizard/stick/headless.py").is_file()
    assert not (site / "moto").exists()


def test_size(image: Image) -> None:
    """About 280 MB; 390 would be 1.4 times a bare live image. Firmware is 190 MB."""
    size = image.iso.stat().st_size
    print(json.dumps({"bytes": size}))
    assert size < (580 if image.iso.stem.endswith("-full") else 390) * 10**6

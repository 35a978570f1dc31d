#!/bin/sh
# product.sh: the project and what it needs, as a layer over Debian's, in the tree of tools.
# Needs /build/chroot (made by base.sh) and /build/wheels; makes /build/live/product.squashfs.
set -eu
cd /build
root=/build/chroot
rm -rf product product.squashfs
cp -a /project/image/product product
chown -R root:root product
chmod -R u=rwX,go=rX product
chmod 0440 product/etc/sudoers.d/build-usb
mkdir -p product/opt/build-usb
mount --bind product/opt/build-usb "$root/opt/build-usb"
mount -t tmpfs tmpfs "$root/mnt"
mkdir "$root/mnt/wheels" "$root/mnt/pip" "$root/mnt/project"
mount --bind wheels "$root/mnt/wheels"
mount --bind /usr/lib/python3/dist-packages "$root/mnt/pip"
mount --bind /project "$root/mnt/project"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"

inside() { chroot "$root" env PYTHONPATH=/mnt/pip TMPDIR=/mnt PIP_CONFIG_FILE=/dev/null "$@"; }
pip() { inside "$python" -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }
offline="--no-index --find-links /mnt/wheels"

python=/usr/bin/python3
# shellcheck disable=SC2086
pip wheel $offline --no-deps --wheel-dir /mnt/built /mnt/project
chroot "$root" python3 -m venv --without-pip /opt/build-usb
python=/opt/build-usb/bin/python
# what the locks name, and of that only what a stick needs: no `rehearsal`; also what lies beside the
# tools' pip, which would count as installed
# shellcheck disable=SC2086
pip install --ignore-installed $offline --find-links /mnt/built --no-compile --no-warn-script-location build-usb
site=$(echo product/opt/build-usb/lib/python3*/site-packages)
rm -rf "$site"/*/tests "$site"/*/test "$site"/greenlet/*.h product/opt/build-usb/include
# descriptions of Amazon's 400 services: those that our code names, and what signing in needs
for service in "$site"/botocore/data/*/; do
    name=$(basename "$service")
    case $name in sts | sso | sso-oidc | signin) continue ;; esac
    grep -rqF --include='*.py' "\"$name\"" "$site/wizard" || rm -r "$service"
done
chroot "$root" /opt/build-usb/bin/python -I -m compileall -q -j 0 \
    --invalidation-mode unchecked-hash /opt/build-usb/lib
chroot "$root" env -i HOME=/nonexistent PATH=/usr/bin:/bin /opt/build-usb/bin/build-usb --help \
    > /dev/null
chroot "$root" /opt/build-usb/bin/python -I - <<'PYTHON'
# what is missing would be missed on the stick only, in the midst of a deployment
import sys
from importlib.metadata import distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

there = {canonicalize_name(found.metadata["Name"]) for found in distributions()}
for found in distributions():
    for wanted in map(Requirement, found.requires or ()):
        needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if needed and canonicalize_name(wanted.name) not in there:
            sys.exit(f"{found.metadata['Name']} needs {wanted.name}, which is not in the image")
PYTHON
chroot "$root" /opt/build-usb/bin/python -I - > live/product.packages <<'PYTHON'
from importlib.metadata import distributions

for found in sorted(distributions(), key=lambda one: one.metadata["Name"].lower()):
    meta = found.metadata
    spdx = meta.get("License-Expression") or (meta.get("License") or "").splitlines()[:1]
    classes = [c.split(" :: ")[-1] for c in meta.get_all("Classifier", []) if c.startswith("License")]
    licence = spdx if isinstance(spdx, str) else " ".join(spdx)
    if not licence or len(licence) > 60:
        licence = ", ".join(classes) or "see its metadata"
    print(meta["Name"], found.version, licence, sep="\t")
PYTHON
wanted=product/etc/systemd/system
for unit in "$wanted"/*.service; do
    # shellcheck disable=SC2013
    for target in $(sed -n 's/^WantedBy=//p' "$unit"); do
        mkdir -p "$wanted/$target.wants"
        ln -s "../${unit##*/}" "$wanted/$target.wants/${unit##*/}"
    done
done
printf 'ID=build-usb\nVERSION=%s\nEPOCH=%s\n' "$VERSION" "$SOURCE_DATE_EPOCH" \
    > product/usr/lib/build-usb/release
env -u SOURCE_DATE_EPOCH mksquashfs product product.squashfs -noappend -no-progress -quiet -comp zstd \
    -Xcompression-level 15 -b 256K -all-time "$SOURCE_DATE_EPOCH" -mkfs-time "$SOURCE_DATE_EPOCH" \
    -all-root
mv product.squashfs live/product.squashfs

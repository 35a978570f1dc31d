#!/usr/bin/env bash
# Makes the bootable image: dist/build-usb-<version>-amd64.iso. See docs/image.md.
set -euo pipefail
PROJECT=$(cd "$(dirname "$0")" && pwd)
cd "$PROJECT"

usage() {
    cat <<'TEXT'
usage: ./build-image.sh [--flavour small|full] [--fresh] [--check] [--bare] [--try [bios|uefi]]
                        [--write DEVICE [--anew]]

Makes dist/build-usb-<version>-amd64.iso, SHA256SUMS, the list of packages and the log, on Debian 12
or 13, as root or with sudo. What was made before and did not change is not made again.

  --flavour full   adds firmware of wireless, graphics and sound devices (-full in the name)
  --fresh          take today's packages from the mirrors instead of those of the last build
  --check          build a second time elsewhere and compare bit by bit (image/compare.sh)
  --bare           make a bare Debian live image too, to compare with (docs/benchmarks.md)
  --try [HOW]      start the image in QEMU, by bios (default) or uefi, in a window or this terminal
  --write DEVICE   write the image to a USB stick, such as /dev/sdX, and read it back; a Build USB
                   stick keeps its encrypted volume, but with --anew

Environment: BUILD_USB_IMAGE_CACHE  where stages are kept (.image-cache; about 3 GB)
             BUILD_USB_IMAGE_DIST   where the result goes (dist)
             SOURCE_DATE_EPOCH      the time in the image (default: of the commits)
TEXT
}

# wrong WORDS: what is wrong with how this was called
wrong() {
    printf 'error: %s\nSee ./build-image.sh --help\n' "$1" >&2
    exit 2
}

arguments=("$@")
FLAVOUR=small fresh='' check='' bare='' try='' device='' anew=''
while [ $# -gt 0 ]; do
    case $1 in
    --flavour)
        [ $# -gt 1 ] || wrong "--flavour needs a name: small or full"
        FLAVOUR=$2 && shift
        ;;
    --flavour=*) FLAVOUR=${1#*=} ;;
    --fresh) fresh=yes ;;
    --check) check=yes ;;
    --bare) bare=yes ;;
    --try)
        try=bios
        case ${2:-} in bios | uefi) try=$2 && shift ;; esac
        ;;
    --anew) anew=--anew ;;
    --write)
        case ${2:-} in /*) ;; *) wrong "--write needs the stick's device, such as /dev/sdX" ;; esac
        device=$2 && shift
        ;;
    -h | --help) usage && exit 0 ;;
    *) wrong "unknown option or word: $1" ;;
    esac
    shift
done
case $FLAVOUR in small | full) ;; *) wrong "no such flavour: $FLAVOUR (small or full)" ;; esac
[ -z "$anew" ] || [ -n "$device" ] || wrong "--anew belongs to --write"

exec 3>&1 4>&2
# shellcheck source=image/lib.sh
. image/lib.sh

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || fail "the image cannot be made here" \
    "this computer" "it is made with Debian's tools, for processors of the kind amd64" \
    "use a computer or virtual machine with Debian 12 or 13 for amd64"
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "this needs root" "$0" \
        "Debian's tree is made with its owners and devices" "run it as root, or install sudo"
    exec sudo --preserve-env=BUILD_USB_IMAGE_CACHE,BUILD_USB_IMAGE_DIST,SOURCE_DATE_EPOCH \
        "$PROJECT/build-image.sh" "${arguments[@]}"
fi
# before anything is built, which takes minutes; a bare computer has no Python yet, and asks later
if [ -n "$device" ] && [ -x /usr/bin/python3 ]; then
    /usr/bin/python3 -B -m wizard.stick.write --examine "$device"
fi

VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' wizard/__init__.py)
CACHE=${BUILD_USB_IMAGE_CACHE:-$PROJECT/.image-cache}
suffix=
[ "$FLAVOUR" = small ] || suffix=-$FLAVOUR
name=build-usb-$VERSION-amd64$suffix
DIST=${BUILD_USB_IMAGE_DIST:-dist}
iso=$DIST/$name.iso
mkdir -p "$CACHE/times" "$DIST"
CACHE=$(cd "$CACHE" && pwd)
exec 9> "$CACHE/lock"
flock -n 9 || fail "another build is running" "$CACHE/lock" "it holds the lock" "wait for its end"
log=$DIST/$name.log
exec > "$log" 2>&1
started=$SECONDS
trap 'ended $?' EXIT

ended() {
    [ "$1" = 0 ] && return
    say "" "The build stopped; nothing in $DIST but the log was changed. The log's last lines:"
    tail -n 12 "$log" | sed 's/^/  | /' >&3
    say "Whole log: $log. Run the same command again: it goes on where it stopped."
}

# -- stages, each with the time it took before ---------------------------------------------------

# stage NAME SECONDS WORDS COMMAND...: SECONDS is what it took on a quiet computer with two cores
stage() {
    local key=$1 words=$3 before estimate=" (about $2 s)" begun=$SECONDS
    shift 3
    before=$(cat "$CACHE/times/$key" 2>/dev/null || true)
    [ -z "$before" ] || estimate=" (took $before s last time)"
    say "$words$estimate"
    "$@"
    echo $((SECONDS - begun)) > "$CACHE/times/$key"
}

host_tools() {
    local missing=() package
    for package in mmdebstrap python3-venv git ca-certificates "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' \
            || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "Installing from Debian's packages: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# A Debian 13 tree with live-build and the tools: the same ones on every computer that builds.
BUILDER_PACKAGES=live-build,debootstrap,debian-archive-keyring,dctrl-tools,mount,ca-certificates
BUILDER_PACKAGES+=,xorriso,mtools,dosfstools,squashfs-tools,cpio,zstd,xz-utils,rsync,file,wget
BUILDER_PACKAGES+=,grub-pc-bin,grub-common,grub-efi-amd64-signed,shim-signed,fdisk,python3-pip

make_builder() {
    local partial=$BUILDER.partial
    rm -rf "$partial"
    mkdir "$partial"
    # its own mounts and processes, a plain name for apt; none of our descriptors: its scripts
    # cannot name those above 9
    # shellcheck disable=SC2016
    unshare --mount --pid --mount-proc --fork --kill-child \
        sh -c 'mount --bind -- "$0" /mnt && exec "$@"' "$partial" \
        mmdebstrap --mode=root --variant=apt --format=directory \
        --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
        --include="$BUILDER_PACKAGES" trixie /mnt "${sources[@]}" 3>&- 4>&- 9>&-
    mv "$partial" "$BUILDER"
}

make_base() {
    mkdir -p "$base"
    in_builder "$base" sh /project/image/steps/base.sh "$base_id" "${mirrors[@]}"
    echo "$base_id" > "$base/made"
}

make_wheels() {
    local partial=$wheels.partial
    rm -rf "$partial"
    [ -x "$CACHE/tools/bin/pip" ] || python3 -m venv "$CACHE/tools"
    local platforms=() version
    for version in 2_5 2_12 2_17 2_24 2_27 2_28 2_31 2_34 2_35 2_36 2_38 2_39 2_41; do
        platforms+=(--platform "manylinux_${version}_x86_64")
    done
    # for Debian 13's Python, whatever runs here; the index is the one set up on this computer
    "$CACHE/tools/bin/pip" download --require-hashes --no-deps --only-binary=:all: \
        --disable-pip-version-check --progress-bar off \
        --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none \
        "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 \
        --platform manylinux1_x86_64 --dest "$partial" --requirement requirements.txt
    mv "$partial" "$wheels"
}

make_product() {
    rm -rf "$base/wheels"
    cp -al "$wheels" "$base/wheels"
    in_builder "$base" sh /project/image/steps/product.sh
}

make_medium() {
    in_builder "$base" sh /project/image/steps/medium.sh
    cp "$base/build-usb.iso" "$iso.partial"
    chmod 0644 "$iso.partial"
    mv "$iso.partial" "$iso"
    sh image/manifest.sh "$base" > "$DIST/$name.packages"
    (cd "$DIST" && sha256sum "$name.iso" "$name.packages" > SHA256SUMS.partial)
    # other flavours of this version keep their lines
    if [ -e "$DIST/SHA256SUMS" ]; then
        grep -v "  $name\.\(iso\|packages\)$" "$DIST/SHA256SUMS" >> "$DIST/SHA256SUMS.partial" || true
    fi
    mv "$DIST/SHA256SUMS.partial" "$DIST/SHA256SUMS"
}

make_bare() {
    in_builder "$CACHE/base-bare" sh /project/image/steps/bare.sh "${mirrors[@]}"
    mv "$CACHE/base-bare/bare.iso" "$DIST/bare-debian-amd64.iso"
}

# commit_time PATH...: of the last commit that changed them
commit_time() {
    git -c safe.directory="$PROJECT" log -1 --format=%ct -- "$@" 2>/dev/null
}

PATH=$PATH:/usr/sbin:/sbin
say "Build USB $VERSION, flavour $FLAVOUR; log: $log"
host_tools
[ -z "$fresh" ] || rm -rf "$CACHE"/builder-* "$CACHE"/base-*

# mirrors: those of this computer, as the lab's machines use them
mapfile -t sources < <(/usr/bin/python3 -I -c '
import sys
sys.path.insert(0, sys.argv[1])
from wizard.errors import BuildUsbError
from wizard.lab.basetree import sources
try:
    print("\n".join(sources()))
except BuildUsbError as error:
    print(error, file=sys.stderr)
    sys.exit(1)' "$PROJECT")
[ ${#sources[@]} -gt 0 ] || fail "no Debian mirror is known" "/etc/apt" \
    "the image is made of Debian's packages" "run apt-get update, on Debian 12 or 13"
main='' security=''
for line in "${sources[@]}"; do
    read -r _ uri suite _ <<< "$line"
    case $suite in
    trixie) main=$uri ;;
    trixie-security) security=$uri ;;
    esac
done
[ -n "$security" ] || fail "no mirror of Debian's security updates is known" "/etc/apt" \
    "an image without them would start old" "add it to the apt sources, then apt-get update"
mirrors=(--mirror-bootstrap "$main" --parent-mirror-bootstrap "$main")
for part in chroot binary; do
    mirrors+=("--mirror-$part" "$main" "--parent-mirror-$part" "$main")
    mirrors+=("--mirror-$part-security" "$security" "--parent-mirror-$part-security" "$security")
done
for variable in http https; do
    eval "$(apt-config shell proxy "Acquire::$variable::Proxy")"
    [ -z "${proxy:-}" ] || mirrors+=("--apt-$variable-proxy" "$proxy")
    unset proxy
done

BUILDER=$CACHE/builder-$(printf '%s' "$BUILDER_PACKAGES" | sha256sum | cut -c1-12)
base=$CACHE/base-$FLAVOUR
# the time of the commit that changed Debian's part last: other commits leave that part as it is
base_parts=(image/live image/steps/base.sh)
# git keeps no empty folder
[ ! -d hooks/image ] || base_parts+=(hooks/image)
base_epoch=${SOURCE_DATE_EPOCH:-$(commit_time "${base_parts[@]}" || true)}
base_epoch=${base_epoch:-$(stat -c %Y image/live/auto/config)}
base_id=$FLAVOUR-$(digest "${base_parts[@]}")-$base_epoch
wheels=$CACHE/wheels-$(sha256sum requirements.txt | cut -c1-12)

[ -d "$BUILDER" ] || stage builder 20 "1/5 tools: a Debian 13 tree with live-build" make_builder
if [ "$(cat "$base/made" 2>/dev/null)" != "$base_id" ]; then
    EPOCH=$base_epoch
    stage "base-$FLAVOUR" 110 "2/5 the live system of Debian's packages" make_base
else
    say "2/5 the live system of Debian's packages: kept from $(date -r "$base/made" +%F); --fresh renews it"
fi
[ -d "$wheels" ] || stage wheels 20 "3/5 what the locks name, by their hashes" make_wheels
EPOCH=${SOURCE_DATE_EPOCH:-$(commit_time . || true)}
EPOCH=${EPOCH:-$(stat -c %Y wizard/__init__.py)}
stage product 25 "4/5 this project, as a layer over it" make_product
stage medium 5 "5/5 the medium: boot chain, menu, partitions, checksums" make_medium

say "" "$iso  $(($(stat -c %s "$iso") / 1000000)) MB, in $((SECONDS - started)) s"
say "$(sha256sum "$iso" | cut -c1-64)"
if [ -n "$bare" ]; then
    stage bare 210 "a bare Debian live image, to compare with" make_bare
    say "$DIST/bare-debian-amd64.iso  $(($(stat -c %s "$DIST/bare-debian-amd64.iso") / 1000000)) MB"
fi
trap - EXIT

exec >&3 2>&4
if [ -n "$check" ]; then bash image/compare.sh "$iso" --flavour "$FLAVOUR"; fi
# shellcheck disable=SC2086  # one word, or none
if [ -n "$device" ]; then /usr/bin/python3 -B -m wizard.stick.write $anew "$iso" "$device"; fi
if [ -n "$try" ]; then host_tools qemu-system-x86 qemu-system-gui ovmf && bash image/try.sh "$iso" "$try"; fi

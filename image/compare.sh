#!/usr/bin/env bash
# compare.sh ISO [OPTION...]: build again from nothing in another folder, at another time, and
# compare bit by bit. When they differ, diffoscope says where.
set -euo pipefail
iso=$(realpath "$1")
shift
elsewhere=$(mktemp -d /var/tmp/build-usb-again.XXXXXX)
trap 'rm -rf "$elsewhere"' EXIT
project=$(cd "$(dirname "$0")/.." && pwd)
mkdir "$elsewhere/checkout"
# what the build reads, uncommitted changes included; .git tells the commits' times
tar -C "$project" --exclude=./dist --exclude=./.venv --exclude=./.image-cache \
    --exclude=./.rehearsal --exclude='*_cache' --exclude=__pycache__ -cf - . \
    | tar -C "$elsewhere/checkout" -xf -
# a worktree's or submodule's .git is a file, which may name its folder from where it lies
if [ -f "$project/.git" ]; then
    folder=$(git -c safe.directory="$project" -C "$project" rev-parse --absolute-git-dir)
    echo "gitdir: $folder" > "$elsewhere/checkout/.git"
fi
# neither stages nor results of the first build, wherever that one was told to keep them
BUILD_USB_IMAGE_CACHE=$elsewhere/cache BUILD_USB_IMAGE_DIST=$elsewhere/checkout/dist \
    "$elsewhere/checkout/build-image.sh" "$@"
again=$elsewhere/checkout/dist/$(basename "$iso")
if cmp "$iso" "$again"; then
    echo "The same, bit for bit: $(sha256sum "$iso" | cut -c1-64)"
    exit 0
fi
echo "The two images differ. The second has today's packages: --fresh --check compares two of today." >&2
if command -v diffoscope >/dev/null; then
    diffoscope --max-report-size 200000 "$iso" "$again" >&2 || true
else
    echo "apt-get install diffoscope, then run this again, to see where." >&2
fi
exit 1

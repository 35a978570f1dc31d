# shellcheck shell=bash
# What the steps of build-image.sh share. Variables: PROJECT, CACHE, BUILDER (a tree), FLAVOUR.

say() { printf '%s\n' "$*" >&3; }

# fail WHAT WHERE WHY CURE
fail() {
    printf '\nerror: %s\n  where: %s\n  why:   %s\n  cure:  %s\n' "$1" "$2" "$3" "$4" >&4
    exit 1
}

# digest PATH...: one hash of names, contents, and what may be executed
digest() {
    find "$@" \( -type f -o -type l \) | LC_ALL=C sort | while read -r file; do
        if [ -x "$file" ]; then echo "x $file"; else echo "- $file"; fi
        if [ -L "$file" ]; then readlink "$file"; else cat "$file"; fi
    done | sha256sum | cut -c1-16
}

# in_builder FOLDER COMMAND...: run as root in the tree of tools, with FOLDER as /build and the
# project as /project (read-only). Mounts and processes end with the command.
in_builder() {
    local folder=$1
    shift
    mkdir -p "$folder" "$BUILDER/build" "$BUILDER/project"
    cp -L /etc/resolv.conf "$BUILDER/etc/resolv.conf"
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child sh -euc '
        tree=$1 folder=$2 project=$3
        shift 3
        mount -t proc proc "$tree/proc"
        mount -t sysfs sysfs "$tree/sys"
        mount --rbind /dev "$tree/dev"
        mount -t tmpfs tmpfs "$tree/tmp"
        mount --bind "$folder" "$tree/build"
        mount --bind "$project" "$tree/project"
        mount -o remount,bind,ro "$tree/project"
        exec chroot "$tree" "$@"
    ' builder "$BUILDER" "$folder" "$PROJECT" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC \
        DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH="$EPOCH" FLAVOUR="$FLAVOUR" VERSION="$VERSION" \
        "$@" </dev/null 3>&- 4>&- 9>&-
}

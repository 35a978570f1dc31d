#!/usr/bin/env bash
# sizes.sh BASE: what the bytes of an image pay for, as a table for docs/image.md. BASE is a flavour's
# folder in the build's cache, .image-cache/base-small.
set -euo pipefail
cd "$1"

row() { printf '| %s | %s | %s |\n' "$1" "$2" "$3"; }
megabytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f", bytes / 1e6 }'; }
# packed ROOT PATH...: as squashfs packs them, near enough
packed() { (cd "$1" && shift && tar -c --ignore-failed-read "$@" 2>/dev/null | zstd -15 -T0 -q | wc -c); }
unpacked() { (cd "$1" && shift && du -scb "$@" 2>/dev/null | tail -n 1 | cut -f1); }

group() {
    local title=$1 root=$2
    shift 2
    local paths=() pattern
    for pattern; do
        mapfile -t -O "${#paths[@]}" paths < <(cd "$root" && compgen -G "$pattern")
    done
    [ ${#paths[@]} -gt 0 ] || return 0
    row "$title" "$(megabytes "$(unpacked "$root" "${paths[@]}")")" \
        "$(megabytes "$(packed "$root" "${paths[@]}")")"
}

echo '| what | MB unpacked | MB in the image |'
echo '|---|---|---|'
row 'kernel' "$(megabytes "$(stat -c %s live/vmlinuz)")" "$(megabytes "$(stat -c %s live/vmlinuz)")"
row 'initramfs' '' "$(megabytes "$(stat -c %s live/initrd.img)")"
group 'kernel modules' chroot 'usr/lib/modules'
group 'firmware (flavour full)' chroot 'usr/lib/firmware'
group 'Python' chroot 'usr/lib/python3*' 'usr/bin/python3*'
group 'systemd and udev' chroot 'usr/lib/systemd' 'usr/lib/x86_64-linux-gnu/systemd' 'usr/lib/udev'
group 'NetworkManager, Wi-Fi' chroot 'usr/sbin/NetworkManager' 'usr/sbin/wpa_*' 'usr/bin/nm*' \
    'usr/lib/x86_64-linux-gnu/NetworkManager' 'usr/lib/x86_64-linux-gnu/libnm*'
group 'speech' chroot 'usr/lib/x86_64-linux-gnu/espeak-ng-data' 'usr/lib/x86_64-linux-gnu/lib*espeak*' \
    'usr/lib/x86_64-linux-gnu/libasound*' 'usr/lib/x86_64-linux-gnu/libopus*' \
    'usr/lib/x86_64-linux-gnu/libfftw*' 'usr/lib/x86_64-linux-gnu/libpulse*' \
    'usr/lib/x86_64-linux-gnu/pulseaudio' 'usr/share/alsa' 'usr/share/sounds'
group 'keyboards, time zones, fonts' chroot 'usr/share/X11' 'usr/share/zoneinfo' 'usr/share/consolefonts'
site=$(cd product && echo opt/build-usb/lib/python3*/site-packages)
group 'this project' product "$site/wizard"
group 'Cloudflare'\''s library' product "$site/cloudflare"
group 'AWS'\''s libraries' product "$site/boto*" "$site/s3transfer"
# shellcheck disable=SC2016
row 'all of `filesystem.squashfs`' "$(megabytes "$(unpacked chroot .)")" \
    "$(megabytes "$(stat -c %s live/filesystem.squashfs)")"
# shellcheck disable=SC2016
row 'all of `product.squashfs`' "$(megabytes "$(unpacked product .)")" \
    "$(megabytes "$(stat -c %s live/product.squashfs)")"
row 'partitions EFI and ANSWERS' '' '75.5'
row '**the image**' '' "**$(megabytes "$(stat -c %s build-usb.iso)")**"

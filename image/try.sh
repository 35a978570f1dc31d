#!/usr/bin/env bash
# try.sh ISO bios|uefi: start an image in QEMU as a USB stick of 2 GB that forgets what is written.
set -euo pipefail
iso=$1 firmware=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp --sparse=always "$iso" "$folder/stick.img"
truncate -s 2G "$folder/stick.img"
# shellcheck disable=SC2054  # commas are QEMU's
words=(-machine q35 -m 2048 -smp 1 -nic user
    -device qemu-xhci -device usb-kbd
    -drive "if=none,id=stick,format=raw,file=$folder/stick.img"
    -device usb-storage,drive=stick,removable=on,bootindex=1)
# the device may be there and not work: a machine that ends at once tells
kvm_works() {
    [ -w /dev/kvm ] && echo quit | timeout 20 qemu-system-x86_64 -machine q35 -accel kvm -cpu host \
        -nodefaults -display none -monitor stdio
}
if (kvm_works) >/dev/null 2>&1; then
    words+=(-accel kvm -cpu host)
else
    # the kernel clears memory by an instruction that is slow here, if told that it is fast
    words+=(-accel tcg -cpu "max,-erms,-fsrm")
fi
if [ "$firmware" = uefi ]; then
    cp /usr/share/OVMF/OVMF_VARS_4M.fd "$folder/vars.fd"
    words+=(-drive "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
        -drive "if=pflash,format=raw,unit=1,file=$folder/vars.fd")
fi
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    words+=(-display gtk -serial none)
else
    echo "No window here: this is the serial line; Ctrl-A X ends."
    words+=(-display none -serial mon:stdio)
fi
qemu-system-x86_64 "${words[@]}"

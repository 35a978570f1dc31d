#!/bin/sh
# bare.sh LIVE-BUILD-OPTION...: a bare Debian live image, by the same live-build from the same mirrors
# and with the same compression, to compare with. Makes /build/bare.iso in the tree of tools.
set -eu
cd /build
rm -rf auto config chroot binary .build cache/bootstrap bare.iso ./*.hybrid.iso
cp -a /project/image/live/auto .
lb config "$@" --build-with-chroot true --bootloaders grub-pc,grub-efi
lb build
mv ./*.hybrid.iso bare.iso

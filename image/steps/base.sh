#!/bin/sh
# base.sh BASE-ID LIVE-BUILD-OPTION...: Debian's part of the image, in the tree of tools.
# Makes /build/live.partial with filesystem.squashfs, vmlinuz, initrd.img and the list of packages;
# /build/chroot stays: the product is installed against it.
set -eu
base_id=$1
shift
cd /build
# a bootstrap kept from another build carries that build's time in /etc/os-release
rm -rf auto config live.partial chroot binary .build cache/bootstrap
cp -a /project/image/live/auto /project/image/live/config .
if [ -e "/project/image/live/flavours/$FLAVOUR.list.chroot" ]; then
    cp "/project/image/live/flavours/$FLAVOUR.list.chroot" config/package-lists/
fi
# hooks of whoever builds; see hooks/README.md
for hook in /project/hooks/image/*.hook.chroot; do
    [ -e "$hook" ] && cp "$hook" config/hooks/normal/
done
mkdir -p config/includes.chroot_after_packages/etc/build-usb
echo "$base_id" > config/includes.chroot_after_packages/etc/build-usb/base-id
# the same whoever cloned the project
chown -R root:root auto config
chmod -R u=rwX,go=rX auto config
lb config "$@"
lb bootstrap
lb chroot

# where packages came from is nobody's business, and nothing is installed on a stick
rm -rf chroot/etc/apt/sources.list chroot/etc/apt/sources.list.d/* chroot/etc/apt/apt.conf.d/*proxy*
echo "# none: the image is replaced as a whole, see docs/image.md" > chroot/etc/apt/sources.list
rm -f chroot/etc/resolv.conf
: > chroot/etc/resolv.conf
chmod 0644 chroot/etc/resolv.conf
rm -rf chroot/var/lib/apt/lists/* chroot/var/cache/apt/* chroot/tmp/* chroot/var/tmp/*

mkdir live.partial
cp chroot/boot/vmlinuz-* live.partial/vmlinuz
cp chroot/boot/initrd.img-* live.partial/initrd.img
# the second layer of isolation, proved before anybody boots
cp live.partial/initrd.img chroot/tmp/
chroot chroot lsinitramfs /tmp/initrd.img > live.partial/initrd.list
rm chroot/tmp/initrd.img
if grep -E '/(ext4|jbd2|xfs|btrfs|f2fs|jfs|ntfs3|nvme|ahci|ata_piix|mmc_block|virtio_blk)\.ko' \
    live.partial/initrd.list; then
    echo "the initramfs holds what it must not" >&2
    exit 1
fi
grep -q '/usb-storage\.ko' live.partial/initrd.list
grep -q '/01-build-usb-read-only\.rules' live.partial/initrd.list
cp chroot.packages.live live.partial/packages
du -xk --max-depth=4 chroot | sort -rn > live.partial/sizes || true
env -u SOURCE_DATE_EPOCH mksquashfs chroot live.partial/filesystem.squashfs -noappend -no-progress -quiet \
    -comp zstd -Xcompression-level 15 -b 256K -all-time "$SOURCE_DATE_EPOCH" \
    -mkfs-time "$SOURCE_DATE_EPOCH" -wildcards -e 'boot/*' 'initrd.img*' 'vmlinuz*' 
rm -rf live
mv live.partial live

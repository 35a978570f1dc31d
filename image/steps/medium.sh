#!/bin/sh
# medium.sh: the medium around both layers, in the tree of tools: boot menu, Debian's signed boot
# chain, the partition ANSWERS, checksums. Makes /build/build-usb.iso.
set -eu
cd /build
rm -rf binary esp.img answers.img build-usb.iso.partial
stamp=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)
# as blkid prints the UUID of an ISO 9660 file system with this modification date
identity=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%d-%H-%M-%S-00)
grub=binary/boot/grub

mkdir -p binary/live binary/.disk $grub/i386-pc
cp live/vmlinuz live/initrd.img live/filesystem.squashfs live/product.squashfs binary/live/
printf 'filesystem.squashfs\nproduct.squashfs\n' > binary/live/filesystem.module
echo "$identity" > binary/live/medium-id
echo "Build USB $VERSION $FLAVOUR amd64" > binary/.disk/info
# the initramfs takes no other medium than its own
cp chroot/etc/build-usb/base-id binary/.disk/live-uuid-build-usb
mkdir -p binary/licences
cat live/packages live/product.packages > binary/licences/packages

# BIOS: GRUB's core finds its modules on the ISO
cp /usr/lib/grub/i386-pc/*.mod /usr/lib/grub/i386-pc/*.lst $grub/i386-pc/
cp /usr/share/grub/unicode.pf2 $grub/
grub-mkimage -d /usr/lib/grub/i386-pc -O i386-pc -p /boot/grub -o core.img \
    biosdisk iso9660 part_gpt part_msdos
cat /usr/lib/grub/i386-pc/cdboot.img core.img > $grub/grub_eltorito
rm core.img
# the menu; its commands are the same for BIOS and UEFI
sed -e "s|@COMMON@|$(grep -v '^#' /project/image/medium/kernel-command-line | tr '\n' ' ')|" \
    -e "s|@BLACKLIST@|$(grep -v '^#' /project/image/medium/internal-disk-drivers | paste -sd,)|" \
    -e "s|@VERSION@|$VERSION|" /project/image/medium/grub.cfg > $grub/grub.cfg

# UEFI: Debian's shim and GRUB, both signed; its GRUB looks for /boot/grub/grub.cfg beside itself
cat > esp.cfg <<CONFIG
search --set=root --file /.disk/live-uuid-build-usb
set prefix=(\$root)/boot/grub
configfile (\$root)/boot/grub/grub.cfg
CONFIG
mkdir -p esp/EFI/boot esp/boot/grub
cp /usr/lib/shim/shimx64.efi.signed esp/EFI/boot/bootx64.efi
cp /usr/lib/shim/mmx64.efi.signed esp/EFI/boot/mmx64.efi
cp /usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed esp/EFI/boot/grubx64.efi
mv esp.cfg esp/boot/grub/grub.cfg

# fat IMAGE KIB SERIAL LABEL FOLDER: a FAT file system, the same at every build
fat() {
    image=$1 size=$2 serial=$3 label=$4 folder=$5
    find "$folder" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    mkfs.vfat --invariant -i "$serial" -n "$label" -C "$image" "$size" > /dev/null
    (cd "$folder" && find . -mindepth 1 -maxdepth 1 | LC_ALL=C sort) | while read -r entry; do
        mcopy -s -m -Q -i "$image" "$folder/$entry" ::
    done
}
fat esp.img 8192 42554545 BUILDUSBESP esp
rm -rf answers
cp -a /project/image/medium/answers answers
fat answers.img 65536 42554541 ANSWERS answers
rm -rf esp answers

# what the menu entry "check the medium" compares; the boot code changes while the ISO is written
(cd binary && find . -type f ! -path ./boot/grub/grub_eltorito ! -path ./sha256sum.txt -print0 \
    | LC_ALL=C sort -z | xargs -0 sha256sum > sha256sum.txt)
find binary -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# the other partitions of a stick stay usable only if the first one is mounted, not the whole disk:
# a second partition offset makes it a file system of its own
xorriso -as mkisofs -quiet -R -r -J -joliet-long -l -iso-level 3 \
    --modification-date="$stamp" -V BUILDUSB -A "Build USB $VERSION" \
    --grub2-boot-info --grub2-mbr /usr/lib/grub/i386-pc/boot_hybrid.img --mbr-force-bootable \
    -partition_offset 16 -iso_mbr_part_type 0FC63DAF-8483-4772-8E79-3D69D8477DE4 \
    -b boot/grub/grub_eltorito -no-emul-boot -boot-load-size 4 -boot-info-table \
    -append_partition 2 0xef esp.img -append_partition 3 0x0c answers.img -appended_part_as_gpt \
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
    -o build-usb.iso.partial binary
mv build-usb.iso.partial build-usb.iso

#!/bin/sh
# manifest.sh BASE: the packages of an image: name, version, licence, origin; tab-separated.
set -eu
base=$1
printf '# name\tversion\tlicence\tfrom\n'
while IFS="$(printf '\t')" read -r name version; do
    copyright=$base/chroot/usr/share/doc/${name%%:*}/copyright
    licences=$(sed -n 's/^License: *\([^ ].*\)/\1/p' "$copyright" 2>/dev/null | tr -d '\r' \
        | LC_ALL=C sort -u | paste -sd';')
    # packages without the machine-readable form name a text of common-licenses
    [ -n "$licences" ] || licences=$(grep -o 'common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' "$copyright" \
        2>/dev/null | cut -d/ -f2 | LC_ALL=C sort -u | paste -sd';')
    printf '%s\t%s\t%s\tDebian\n' "$name" "$version" "${licences:-see $name/copyright}"
done < "$base/live/packages"
sed 's/$/\tPyPI/' "$base/live/product.packages"

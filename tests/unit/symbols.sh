#!/bin/sh
# symbols.sh HEADER MAP LIBRARY ARCHIVE: the public header, the version script, the shared library and the archive show
# the same names, and no others.
set -eu
header=$1 map=$2 library=$3 archive=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

tr '\n' ' ' <"$header" | grep -o 'IMCTL_API [^;{]*' | grep -o '\bimctl_[a-z_0-9]*(' | tr -d '(' | sort >"$folder/header"
grep -o '^ *imctl_[a-z_0-9]*;' "$map" | tr -d ' ;' | sort >"$folder/map"
nm -D --defined-only "$library" | awk '$2 != "A" {print $3}' | sed 's/@@IMCTL_0$//' | sort >"$folder/library"
nm -g --defined-only "$archive" | awk 'NF == 3 {print $3}' | sort >"$folder/archive"

test -s "$folder/header"
for other in map library archive; do
    diff -u "$folder/header" "$folder/$other"
done

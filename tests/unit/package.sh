#!/bin/sh
# package.sh CMAKE BUILD CC VERSION FLAGS: libimctl as it is installed, then moved elsewhere, is found, linked and run by
# another project: with CMake and with pkg-config, shared and as an archive.
set -eu
cmake=$1 build=$2 cc=$3 version=$4 flags=$5
source=$(dirname "$0")/consumer
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# runs LINK PROGRAM: it tells the version, and has the shared library linked (1), or has not (0)
runs() {
    test "$("$2")" = "$version"
    test "$(readelf -d "$2" | grep -c 'NEEDED.*libimctl\.so\.0')" -eq "$1"
}

"$cmake" --install "$build" --prefix "$folder/first" --component libimctl >/dev/null
mv "$folder/first" "$folder/prefix"
test -z "$(grep -rIl "$folder/first" "$folder/prefix")"

"$cmake" -S "$source" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder/prefix" -DCMAKE_C_COMPILER="$cc" \
    -DCMAKE_C_FLAGS="$flags" >/dev/null
"$cmake" --build "$folder/build" >/dev/null
runs 1 "$folder/build/consumer_imctl"
runs 0 "$folder/build/consumer_static"

libraries=$(dirname "$(find "$folder/prefix" -name libimctl.a)")
export PKG_CONFIG_PATH="$libraries/pkgconfig" LD_LIBRARY_PATH="$libraries"
test "$(pkg-config --modversion imctl)" = "$version"
# shellcheck disable=SC2046
"$cc" ${flags:+"$flags"} "$source/consumer.c" -o "$folder/shared" $(pkg-config --cflags --libs imctl)
runs 1 "$folder/shared"
rm "$libraries"/libimctl.so*
# shellcheck disable=SC2046
"$cc" ${flags:+"$flags"} "$source/consumer.c" -o "$folder/static" $(pkg-config --static --cflags --libs imctl)
runs 0 "$folder/static"

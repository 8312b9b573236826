#!/bin/sh
# Builds the C library: build/libdemikernel.so.1 (its soname) with the link libdemikernel.so
# beside it, and build/demikernel.pc for pkg-config.
#
#   scripts/build-lib.sh [GO BUILD FLAGS]
#
# OUT     the folder to build into; default: build
# PREFIX  where `make install` will put it, for demikernel.pc; default: /usr/local
#
# The soname and the version script cannot be #cgo flags (cgo refuses them), hence this
# script. The version script needs an absolute path: the linker runs elsewhere.
set -eu

cd "$(dirname "$0")/.."
out=${OUT:-build}
prefix=${PREFIX:-/usr/local}
map=$PWD/cmd/libdemikernel/libdemikernel.map

mkdir -p "$out"
ldflags="-Wl,-soname,libdemikernel.so.1 -Wl,--version-script=$map -Wl,-z,defs"
CGO_ENABLED=1 go build -buildmode=c-shared -trimpath "$@" \
	-ldflags="-extldflags '$ldflags'" \
	-o "$out/libdemikernel.so.1" ./cmd/libdemikernel
# go writes a header of the private exports beside the library
rm -f "$out/libdemikernel.so.h" "$out/libdemikernel.h"
ln -sf libdemikernel.so.1 "$out/libdemikernel.so"
sed -e "s|@PREFIX@|$prefix|" cmd/libdemikernel/demikernel.pc.in >"$out/demikernel.pc"

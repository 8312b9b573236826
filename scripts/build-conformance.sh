#!/bin/sh
# Builds the conformance suite into build/, against the library that scripts/build-lib.sh
# left there. OUT: another folder than build.
set -eu

cd "$(dirname "$0")/.."
out=${OUT:-build}
${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -pthread -Iinclude \
	tests/conformance/suite/*.c -L"$out" -ldemikernel -Wl,-rpath,'$ORIGIN' -o "$out/conformance"

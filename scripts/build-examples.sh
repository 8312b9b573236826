#!/bin/sh
# Builds the C examples into build/, as a user would, against the library that
# scripts/build-lib.sh left there. OUT: another folder than build.
set -eu

cd "$(dirname "$0")/.."
out=${OUT:-build}
for src in examples/c/*.c; do
	${CC:-cc} -O2 -Wall -Wextra -Werror -Iinclude "$src" -L"$out" -ldemikernel \
		-Wl,-rpath,'$ORIGIN' -o "$out/$(basename "$src" .c)"
done

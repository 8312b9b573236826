#!/bin/sh
# Builds the conformance suite, and the programs that end in every way or reach limits, into build/,
# against the library that scripts/build-lib.sh left there. OUT: another folder than build.
set -eu

cd "$(dirname "$0")/.."
out=${OUT:-build}
compile() {
	program=$1
	shift
	${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -pthread -Iinclude "$@" -o "$out/$program"
}

compile conformance tests/conformance/suite/*.c -L"$out" -ldemikernel -Wl,-rpath,'$ORIGIN'
for program in endings panics limits; do
	compile $program tests/conformance/programs/$program.c -L"$out" -ldemikernel -Wl,-rpath,'$ORIGIN'
done
compile loaded tests/conformance/programs/loaded.c
# As Demikernel compiles its examples.
${CC:-cc} -Werror -Wall -Wextra -O3 -std=c99 -Iinclude tests/conformance/programs/oneway.c \
	-L"$out" -ldemikernel -Wl,-rpath,'$ORIGIN' -o "$out/oneway"

#!/bin/sh
# Fuzzes what reads what a peer sends, and what an application hands in: the C by libFuzzer under the
# address and undefined sanitizers, then the Go by go test -fuzz; SECONDS (20) for each target.
#
# What libFuzzer learns stays in build/fuzz/TARGET and is its start the next time. An input that
# fails is left as build/fuzz/TARGET-*, and is run again by: build/fuzz/TARGET.bin FILE
set -eu

cd "$(dirname "$0")/.."
seconds=${1:-20}
out=build/fuzz
clang=${CLANG:-clang}
mkdir -p $out

# clang, and its runtime with libFuzzer, are wanted here only.
echo 'int LLVMFuzzerTestOneInput(void);int LLVMFuzzerTestOneInput(void){return 0;}' >$out/probe.c
if ! "$clang" -fsanitize=fuzzer,address $out/probe.c -o $out/probe 2>/dev/null; then
	scripts/setup.sh clang libclang-rt-dev
fi

# fuzz NAME MOST SOURCES: inputs have up to MOST bytes.
fuzz() {
	name=$1
	most=$2
	shift 2
	mkdir -p "$out/$name"
	"$clang" -g -O1 -std=c11 -D_GNU_SOURCE=1 -pthread -Wall -Wextra -Werror \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-I. -Iinclude -Irdma -Iqtoken -Idatapath -Idatapath/wire -Idatapath/ctest/testdata \
		"$@" -o "$out/$name.bin"
	if ! "$out/$name.bin" -max_total_time="$seconds" -max_len="$most" -timeout=60 -rss_limit_mb=4096 \
		-artifact_prefix="$out/$name-" "$out/$name" >"$out/$name.log" 2>&1; then
		tail -n 60 "$out/$name.log" >&2
		echo "fuzz: $name has failed, see above and $out/$name-*" >&2
		exit 1
	fi
	echo "fuzz: $name: $(tail -n 1 "$out/$name.log")"
}

fuzz wire 1024 datapath/wire/testdata/wire_fuzz.c
fuzz tokens 2000 qtoken/testdata/fuzz_table.c
fuzz arena 4000 datapath/arena*.c datapath/ctest/testdata/fuzz_arena.c
fuzz engine 800 datapath/*.c rdma/sim/sim_*.c datapath/ctest/testdata/fuzz_engine.c

for target in datapath/internal/cwire:FuzzParse datapath/internal/cwire:FuzzReceive libos/hello:FuzzParse \
	qtoken:FuzzTable rdma:FuzzDecodeSockaddrNeverPanics; do
	${GO:-go} test -run '^$' -fuzz "^${target#*:}\$" -fuzztime "${seconds}s" "./${target%%:*}" >$out/go.log 2>&1 || {
		cat $out/go.log >&2
		echo "fuzz: $target has failed" >&2
		exit 1
	}
	echo "fuzz: $target: $(grep -c execs $out/go.log) reports, none of a failure"
done

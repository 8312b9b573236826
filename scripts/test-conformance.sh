#!/bin/sh
# Runs the C conformance suite as a user's program would run it, on a simulated device and on
# Soft-RoCE, in every way to wait. Prints a line a case, and last `N passed, N failed`.
#
#   scripts/test-conformance.sh             all of it; `make test-conformance` has built build/
#   scripts/test-conformance.sh on-device   the part inside a Soft-RoCE host
#
# A run that ends before its own last line counts as one failure. The simulated device is in
# a library of its own, in build/sim: the product has none.
set -eu

cd "$(dirname "$0")/.."

# suite LABEL FOLDER ARGS...: runs the suite of a folder with its library; its last line, the
# counts, becomes "LABEL: N passed, N failed". Never fails: the counts tell.
suite() {
	label=$1 dir=$2
	shift 2
	LD_LIBRARY_PATH="$dir" "$dir/conformance" "$@" 2>&1 | awk -v label="$label" '
		/^[0-9]+ passed, [0-9]+ failed$/ { counted = 1 }
		{ print label ": " $0; fflush() }
		END { if (!counted) print label ": not ok: the suite ended early\n" label ": 0 passed, 1 failed" }'
}

# programs LABEL FOLDER ADDR: how programs end, and the limits they reach; a program a case.
programs() {
	label=$1 dir=$2 addr=$3
	(
		export LD_LIBRARY_PATH="$dir"
		while read -r want program deed; do
			case $program in
			loaded) set -- "$dir/loaded" "$dir/libdemikernel.so.1" "$addr" ;;
			*) set -- "$dir/$program" "$addr" "$deed" ;;
			esac
			# The shell's own word on a program that died of a signal is no news.
			if { out=$("$@" 2>&1); } 2>/dev/null; then got=0; else got=$?; fi
			if [ "$got" = "$want" ]; then
				echo "$label: ok programs: $program $deed"
			else
				printf '%s\n' "$out" | sed "s/^/$label: #   /"
				echo "$label: not ok programs: $program $deed ends with $got, want $want"
			fi
		done
	) | awk -v label="$label" '
		/: ok programs/ { passed++ }
		/: not ok programs/ { failed++ }
		{ print; fflush() }
		END { printf "%s: %d passed, %d failed\n", label, passed, failed }'
}

# Each with the exit status that a shell reports: 7, or 128 and the signal.
endings='7 endings return
7 endings exit
7 endings thread-exit
7 endings _exit
143 endings sigterm
130 endings sigint
7 endings handler
7 endings handler-exit
7 endings fork-exec
7 endings fork-exit
7 endings init-thread-exit
7 endings cancel-sleepers
7 endings cancel-workers
7 loaded dlopen and dlclose'
limits='7 limits files-init
7 limits files-bind
7 limits files-connect-first
7 limits files-connect
7 limits files-accept-first
7 limits files-accept
7 limits memory-connect
7 limits memory-accept'

# all LABEL FOLDER ADDR ADDR6 NOBODY: every group.
all() {
	where=$1 built=$2
	shift 2
	suite "$where" "$built" before-init
	suite "$where" "$built" fork-uninitialised
	for wait in adaptive spin block; do
		DEMI_WAIT=$wait suite "$where, $wait" "$built" run "$@"
	done
	DEMI_MAX_TOKENS=8 suite "$where, 8 tokens" "$built" run "$1" -- exhausted
	echo "$endings" | programs "$where" "$built" "$1"
}

if [ "${1:-}" = on-device ]; then
	all Soft-RoCE build "$SOFT_ROCE_ADDR" "$SOFT_ROCE_ADDR6" "${SOFT_ROCE_ADDR%.*}.77"
	# What takes two processes, and a kernel that counts.
	suite Soft-RoCE build run "$SOFT_ROCE_ADDR" -- leaving
	echo "$limits" | programs Soft-RoCE build "$SOFT_ROCE_ADDR"
	exit
fi

OUT=build/sim scripts/build-lib.sh -tags demisim
OUT=build/sim scripts/build-conformance.sh
{
	# The addresses of the simulated device, and one that nobody has; see cmd/libdemikernel.
	DEMI_FABRIC=sim all sim build/sim 10.0.0.1 2001:db8::1 10.0.0.77
	build/soft-roce run --timeout 15m -- scripts/test-conformance.sh on-device ||
		echo "Soft-RoCE: 0 passed, 1 failed"
} | awk '
	/: [0-9]+ passed, [0-9]+ failed$/ { passed += $(NF - 3); failed += $(NF - 1) }
	{ print; fflush() }
	END {
		printf "%d passed, %d failed\n", passed, failed
		exit failed > 0 || passed == 0
	}'

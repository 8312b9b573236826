#!/bin/sh
# Counts the instructions of a 64 B message under callgrind (tests/bench/instr) and prints where
# each goes. The last line is the figure: what the engine adds to raw verbs.
set -eu

cd "$(dirname "$0")/.."
mkdir -p build
report=$PWD/build/instr.txt
rm -f "$report"
status=0
go test -count=1 -run TestAMessageCostsNoMoreThanRecorded ./tests/bench/instr -report "$report" >build/instr.log 2>&1 ||
	status=$?
if [ "$status" != 0 ] || [ ! -e "$report" ]; then
	cat build/instr.log
fi
if [ -e "$report" ]; then
	cat "$report"
fi
exit $status

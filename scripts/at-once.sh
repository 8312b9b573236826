#!/bin/sh
# Runs commands at once: scripts/at-once.sh COMMAND...
#
# The output of the first one comes as it is made, that of each other when it has ended. The exit
# status is 1 if one of them has failed.
set -u

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
others=
stop() {
	# shellcheck disable=SC2086 # process ids, one a word
	[ -z "$others" ] || kill $others 2>/dev/null
	exit 1
}
trap stop INT TERM HUP

first=$1
shift
n=0
for command; do
	n=$((n + 1))
	sh -c "exec $command" >"$out/$n" 2>&1 &
	others="$others $!"
done
status=0
sh -c "exec $first" || status=1
n=0
for other in $others; do
	n=$((n + 1))
	wait "$other" 2>/dev/null || status=1 # it would say by which signal a job died
	cat "$out/$n"
done
exit $status

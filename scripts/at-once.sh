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
for command; do
	sh -c "exec $command" >"$out/log" 2>&1 &
	others="$others $!"
	mv "$out/log" "$out/$!"
done
status=0
sh -c "exec $first" || status=1
for other in $others; do
	wait "$other" || status=1
	cat "$out/$other"
done
exit $status

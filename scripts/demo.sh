#!/bin/sh
# The main job, on a Soft-RoCE host (make demo runs it there): an rping-demi server and a client
# that pings it. Exits with 0 only if both do, that is, if every ping came back intact.
#
# PINGS: how many; default: 10.
set -u

cd "$(dirname "$0")/.." || exit 1
rping=${RPING_DEMI:-build/rping-demi}
addr=${SOFT_ROCE_ADDR:?run me on a Soft-RoCE host: build/soft-roce run scripts/demo.sh}

echo "host   | Linux $(uname -r), device $SOFT_ROCE_DEVICE on $SOFT_ROCE_NETDEV, address $addr"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/server" "$dir/client" "$dir/listening"

"$rping" -s -a "$addr" -v >"$dir/server" 2>&1 &
server=$!

# The client starts when the server says that it listens; a server that ends before is news, too.
{
	told=
	while IFS= read -r line; do
		echo "server | $line"
		case $line in
		*listening*)
			[ -z "$told" ] || continue
			echo yes >"$dir/listening"
			told=yes
			;;
		esac
	done
	[ -n "$told" ] || echo no >"$dir/listening"
} <"$dir/server" &
server_lines=$!

read -r listening <"$dir/listening"
client_status=1
if [ "$listening" = yes ]; then
	sed -u 's/^/client | /' <"$dir/client" &
	client_lines=$!
	"$rping" -c -a "$addr" -C "${PINGS:-10}" -v -V >"$dir/client" 2>&1
	client_status=$?
	wait "$client_lines"
fi
# A server whose client has failed may wait for another one.
[ "$client_status" = 0 ] || kill "$server" 2>/dev/null
wait "$server"
server_status=$?
wait "$server_lines"

if [ "$client_status" != 0 ] || [ "$server_status" != 0 ]; then
	echo "demo: failed: client $client_status, server $server_status" >&2
	exit 1
fi

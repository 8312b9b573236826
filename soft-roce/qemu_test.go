//go:build qemu

package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests boot real guests; "make test" runs them, by their name. All else is tested without.

func TestGuestIsASoftRoCEHost(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	// The command in the guest is soft-roce itself, in native mode: the guest's kernel offers
	// rdma_rxe. It makes the host again from nothing and takes it away at the end.
	var c call
	status := c.run("run", "--mode", "qemu", "--idle-poll", "--env", "SOFT_ROCE_AS_PROGRAM=1", "--", "sh", "-c",
		`grep -q roce0 /sys/class/infiniband/rxe0/ports/1/gid_attrs/ndevs/1 && echo device
grep -ow idle=poll /proc/cmdline
"$0" run --mode native --mtu 1500 -- sh -c 'cat /sys/class/net/$SOFT_ROCE_NETDEV/mtu; ls /sys/class/infiniband; exit 7'
echo "native $?"; ls /sys/class/infiniband /sys/class/net; exit 9`, self)
	assert.Equal(t, 9, status, c.err.String())
	assert.Equal(t, "device\nidle=poll\n1500\nrxe0\nnative 7\n/sys/class/infiniband:\n\n/sys/class/net:\nlo\n", c.out.String())
}

func TestAGuestsClockCountsInstructions(t *testing.T) {
	var c call
	status := c.run("run", "--mode", "qemu", "--icount", "--", "sh", "-c",
		"sleep 3600; cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
	assert.Equal(t, 0, status, c.err.String()) // an idle hour takes no time
	assert.Equal(t, "tsc\n", c.out.String())
}

func TestGuestsReachEachOtherOverRDMA(t *testing.T) {
	var c call
	status := c.run("run", "--hosts", "2", "--serve",
		"--on-a", "exec stdbuf -oL rping -s -a $SOFT_ROCE_ADDR -P -d", "--ready", "rdma_listen",
		"--on-b", "rping -c -a $SOFT_ROCE_PEER -C 2 -v -V && rdma link")
	assert.Equal(t, 0, status, c.err.String())
	assert.Contains(t, c.out.String(), "b| ping data: rdma-ping-1")
	assert.Contains(t, c.out.String(), "b| link rxe0/1 state ACTIVE")
}

func TestGuestThatPanicsIsShown(t *testing.T) {
	var c call
	status := c.run("run", "--mode", "qemu", "--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100")
	assert.Equal(t, 125, status)
	assert.Contains(t, c.err.String(), "sysrq triggered crash")
	assert.Contains(t, c.err.String(), "host a: host is down")
}

//go:build qemu

package testbed_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/testbed"
)

// output runs a shell command on a host and returns what it prints.
func output(t *testing.T, h *testbed.Host, script string) string {
	t.Helper()
	var out bytes.Buffer
	status, err := h.Run(t.Context(), testbed.Command{
		Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out,
	})
	require.NoError(t, err)
	require.Equal(t, 0, status, out.String())
	return strings.TrimSpace(out.String())
}

// becomes waits until a command on a host prints want.
func becomes(t *testing.T, h *testbed.Host, script, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return output(t, h, script) == want },
		time.Minute, 50*time.Millisecond, "%s: %s", script, want)
}

func TestGuestsCanBeHarmedFromOutside(t *testing.T) {
	bed, err := testbed.Start(t.Context(), testbed.Config{Hosts: 2, Modules: []string{"dummy"}})
	require.NoError(t, err)
	defer bed.Close()
	a, b := bed.A(), bed.B()
	assert.NotEmpty(t, a.Phases())
	assert.Equal(t, "1", output(t, a, "grep -c ^dummy /proc/modules"), "further modules are loaded")

	const ping = "timeout 60 rping -c -a $SOFT_ROCE_PEER -C 1 -v"
	var served buffer
	server, err := a.Start(testbed.Command{
		Args:   []string{"stdbuf", "-oL", "rping", "-s", "-a", a.Env()["SOFT_ROCE_ADDR"], "-P", "-d"},
		Stdout: &served,
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(served.String(), "rdma_listen") },
		time.Minute, 10*time.Millisecond)
	assert.Contains(t, output(t, b, ping), "ping data: rdma-ping-0")

	// The cable.
	const carrier = "cat /sys/class/net/$SOFT_ROCE_NETDEV/carrier"
	require.NoError(t, a.SetLink(false))
	becomes(t, a, carrier, "0")
	require.NoError(t, a.SetLink(true))
	becomes(t, a, carrier, "1")
	assert.Contains(t, output(t, b, ping), "ping data: rdma-ping-0", "it works again")

	// Loss, of everything.
	output(t, b, "tc qdisc add dev $SOFT_ROCE_NETDEV root netem loss 100%")
	var out bytes.Buffer
	status, err := b.Run(t.Context(), testbed.Command{
		Args: []string{"timeout", "3", "rping", "-c", "-a", b.Env()["SOFT_ROCE_PEER"], "-C", "1"}, Stdout: &out,
	})
	require.NoError(t, err)
	assert.NotEqual(t, 0, status)
	output(t, b, "tc qdisc del dev $SOFT_ROCE_NETDEV root")

	// A host that stands still, and one that loses power.
	require.NoError(t, a.Pause())
	require.NoError(t, a.Resume())
	assert.Equal(t, "up", output(t, a, "echo up"))
	a.PowerOff()
	_, err = server.Wait()
	require.ErrorIs(t, err, testbed.ErrHostDown)
	assert.Equal(t, "up", output(t, b, "echo up"), "the other one lives")
}

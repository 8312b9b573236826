//go:build rdma2

package selftest

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/pair"
)

func TestHostsReachEachOtherOverRDMA(t *testing.T) {
	p := pair.Join(t)
	if p.Host == "a" {
		server := exec.Command("stdbuf", "-oL", "rping", "-s", "-a", p.Addr, "-P", "-d")
		out, err := server.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, server.Start())
		defer func() {
			_ = server.Process.Kill()
			_ = server.Wait()
		}()
		_, err = out.Read(make([]byte, 1)) // it traces from the start on
		require.NoError(t, err)
		p.Barrier("started")
		p.Barrier("pinged")
		return
	}
	p.Barrier("started")
	// The server listens within its first milliseconds; until then it refuses.
	assert.Eventually(t, func() bool {
		return exec.Command("timeout", "60", "rping", "-c", "-a", p.Peer, "-C", "1").Run() == nil
	}, time.Minute, 100*time.Millisecond)
	p.Barrier("pinged")
}

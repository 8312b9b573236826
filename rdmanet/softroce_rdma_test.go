//go:build rdma

package rdmanet

import (
	"crypto/sha256"
	"io"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"catmint/libos"
	"catmint/rdma"
)

// softRoCE is two hosts' libOSes on the one Soft-RoCE host, and its address.
func softRoCE(t *testing.T) (a, b *Host, at string) {
	t.Helper()
	f := rdma.NewHardware()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	addr := os.Getenv("SOFT_ROCE_ADDR")
	require.NotEmpty(t, addr, "run with soft-roce test")
	return newHost(t, libos.DefaultConfig(), f), newHost(t, libos.DefaultConfig(), f), net.JoinHostPort(addr, "0")
}

func TestSoftRoCEConnIsANetConn(t *testing.T) {
	a, b, at := softRoCE(t)
	nettest.TestConn(t, pipe(t, a, b, at))
}

func TestSoftRoCEStreamComesBackWhole(t *testing.T) {
	a, b, at := softRoCE(t)
	c, s := join(t, a, b, at)
	data := random(5<<20 + 1)
	echoed := make(chan error, 1)
	go func() {
		_, err := io.Copy(s, s)
		echoed <- err
		_ = s.CloseWrite()
	}()
	sent := make(chan error, 1)
	go func() {
		err := odd(c, data)
		_ = c.CloseWrite()
		sent <- err
	}()
	got, err := io.ReadAll(plain{c})
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.NoError(t, <-echoed)
	require.Equal(t, sha256.Sum256(data), sha256.Sum256(got))
}

package rdmanet

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/libos"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
)

func TestMain(m *testing.M) { rdmatest.Main(m) }

// patience is a generous limit for what should take milliseconds.
const patience = 60 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newHost makes a host on a fabric; what it leaves behind fails the test.
func newHost(t *testing.T, cfg libos.Config, fabric rdma.Fabric) *Host {
	t.Helper()
	p, err := libos.New(cfg, fabric)
	require.NoError(t, err)
	e, err := p.NewEngine()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.Shutdown(within(t)))
		require.Zero(t, p.Stats().Leaks, "objects could not be destroyed")
	})
	return NewHost(e)
}

// simulated is a network of two hosts, a at 10.0.0.1 and fd00::1, b at 10.0.0.2 and fd00::2.
func simulated(t *testing.T, cfg libos.Config) (network *sim.Network, a, b *Host) {
	t.Helper()
	network = sim.New(sim.Config{RealTime: true})
	before := datapath.TakeCensus()
	t.Cleanup(func() {
		require.NoError(t, network.Close())
		after := datapath.TakeCensus()
		require.Equal(t, before.Tokens, after.Tokens, "tokens left behind")
		require.Equal(t, before.Blocks, after.Blocks, "messages left behind")
		require.Equal(t, before.Descriptors, after.Descriptors, "descriptors left behind")
	})
	host := func(name string, addrs ...string) *Host {
		dev := sim.DeviceConfig{Name: "sim" + name}
		for _, a := range addrs {
			dev.Addrs = append(dev.Addrs, netip.MustParsePrefix(a))
		}
		return newHost(t, cfg, network.AddHost(name, dev))
	}
	return network, host("a", "10.0.0.1/24", "fd00::1/64"), host("b", "10.0.0.2/24", "fd00::2/64")
}

// connected is a pair of connections of two simulated hosts.
func connected(t *testing.T, cfg libos.Config) (c, s *Conn) {
	t.Helper()
	_, a, b := simulated(t, cfg)
	return join(t, a, b, "10.0.0.2:0")
}

// join connects a to b, which listens at an address meanwhile.
func join(t *testing.T, a, b *Host, at string) (c, s *Conn) {
	t.Helper()
	l, err := b.Listen("rdma", at)
	require.NoError(t, err)
	c, err = a.DialContext(within(t), "rdma", l.Addr().String())
	require.NoError(t, err)
	s, err = l.AcceptRDMA()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	t.Cleanup(func() {
		_ = c.Close() // net.ErrClosed, perhaps
		_ = s.Close()
	})
	return c, s
}

package libos

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/rdma/sim"
)

func TestAMessageGoesThereAndBack(t *testing.T) {
	for _, tc := range []struct {
		name  string
		v6    bool
		bound bool
	}{
		{"over IPv4", false, false},
		{"over IPv4 from a bound socket", false, true},
		{"over IPv6", true, false},
		{"over IPv6 from a bound socket", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t, testConfig(), sim.Config{})
			server, client := p.b.addr, p.a.addr
			if tc.v6 {
				server, client = p.b.ip6, p.a.ip6
			}
			l, at := p.b.listen(t, server, 1)
			var from netip.AddrPort
			if tc.bound {
				from = netip.AddrPortFrom(client, 40000)
			}
			c := p.a.connect(t, from, at)
			s := p.b.accept(t, l)

			p.a.send(t, c, "ping")
			require.Equal(t, "ping", p.b.recv(t, s))
			p.b.send(t, s, "pong")
			require.Equal(t, "pong", p.a.recv(t, c))

			peer, err := c.GetPeerName()
			require.NoError(t, err)
			require.Equal(t, at, peer)
			local, err := c.GetSockName()
			require.NoError(t, err)
			require.Equal(t, client, local.Addr())
			if tc.bound {
				require.Equal(t, from, local)
			}
			peer, err = s.GetPeerName()
			require.NoError(t, err)
			require.Equal(t, local, peer)

			info := c.Info()
			require.Equal(t, "sima", info.Device)
			require.NotZero(t, info.QPNum)
			require.NotEmpty(t, info.GID)
			ph := info.Phases
			require.False(t, ph.AddrResolved.Before(ph.Started))
			require.False(t, ph.QPReady.Before(ph.AddrResolved))
			require.False(t, ph.RouteResolved.Before(ph.AddrResolved))
			require.False(t, ph.Sent.Before(ph.QPReady))
			require.False(t, ph.Sent.Before(ph.RouteResolved))
			require.False(t, ph.Established.Before(ph.Sent))
			require.False(t, ph.Ready.Before(ph.Established))

			require.NoError(t, c.Close())
			require.Empty(t, p.b.recv(t, s), "the peer sees the end")
			require.NoError(t, s.Close())
			require.NoError(t, l.Close())
		})
	}
}

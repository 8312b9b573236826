package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/rdma/sim"
)

// network is a simulated one, which must be empty at the end; host makes its hosts.
type network struct {
	*sim.Network
	hosts int
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{Network: sim.New(sim.Config{RealTime: true})}
	before := datapath.TakeCensus()
	t.Cleanup(func() {
		require.NoError(t, n.Close())
		after := datapath.TakeCensus()
		before.ArenaBytes, after.ArenaBytes = 0, 0
		require.Equal(t, before, after)
	})
	return n
}

func (n *network) host() (*sim.Host, netip.Addr) {
	n.hosts++
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(n.hosts)})
	name := fmt.Sprint("host", n.hosts)
	return n.AddHost(name, sim.DeviceConfig{Name: name, Addrs: []netip.Prefix{netip.PrefixFrom(addr, 24)}}), addr
}

func (n *network) objects() (string, int) {
	c := n.Census()
	return fmt.Sprintf("channels=%d ids=%d cc=%d pd=%d cq=%d qp=%d events=%d",
		c.EventChannels, c.IDs, c.Channels, c.PDs, c.CQs, c.QPs, c.UnackedEvents), c.MRs
}

func TestOnTheSimManyCyclesLeaveNothingBehind(t *testing.T) {
	n := newNetwork(t)
	a, _ := n.host()
	b, addr := n.host()
	count := 5000
	if testing.Short() {
		count = 400
	}
	cycles(t, newParty(t, a), newParty(t, b), addr, count, n.objects)
}

func TestOnTheSimManyConnectionsLiveAtOnce(t *testing.T) {
	n := newNetwork(t)
	a, _ := n.host()
	b, addr := n.host()
	count := 1000
	if testing.Short() {
		count = 150
	}
	crowdOf(t, newParty(t, a), newParty(t, b), addr, count, n.objects)
}

// Sixty-four clients, each a libOS with a device of its own, more than any machine has: they
// connect at once, and every fourth connect is cut somewhere on its way.
func TestOnTheSimAcceptKeepsUpWithClientsThatGiveUp(t *testing.T) {
	n := newNetwork(t)
	b, addr := n.host()
	server := newParty(t, b)
	srv := serve(t, server, addr, 128)
	const clients = 64
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	var parties []*party
	for range clients {
		host, _ := n.host()
		parties = append(parties, newParty(t, host))
	}
	errs := make(chan error, clients)
	var wg sync.WaitGroup
	for k, c := range parties {
		wg.Go(func() {
			for i := range rounds {
				if err := clientRound(c, srv.at, (i+k)%4 == 0); err != nil {
					errs <- fmt.Errorf("client %d, round %d: %w", k, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Zero(t, server.p.Stats().Refused)
	srv.stop(t)
}

// clientRound connects, pings and closes; or gives up on the way.
func clientRound(c *party, at netip.AddrPort, giveUp bool) error {
	if !giveUp {
		s, err := c.connect(at)
		if err != nil {
			return err
		}
		return errors.Join(c.ping(s, "round"), s.Close())
	}
	s, err := c.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	qt, err := s.Connect(at)
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.CloseContext(ended); err != nil {
		return err
	}
	_, err = c.wait(qt, nil)
	if err != nil && !errors.Is(err, unix.ECANCELED) {
		return err
	}
	return nil
}

package libos

import (
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
)

func TestAHundredConnectsAtTheSameTimeComplete(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	hundredConnects(t, p.a, p.b, p.b.addr)
}

func hundredConnects(t *testing.T, a, b *node, server netip.Addr) {
	t.Helper()
	const n = 100
	l, at := b.listen(t, server, n)
	accepts := make([]datapath.Token, n)
	for i := range accepts {
		accepts[i] = accepting(t, l)
	}
	socks := make([]*Socket, n)
	connects := make([]datapath.Token, n)
	for i := range socks {
		socks[i], connects[i] = a.connecting(t, at)
	}
	var wg sync.WaitGroup
	errs := make(chan error, 2*n)
	for i := range connects {
		wg.Go(func() {
			if _, err := a.e.Wait(within(t), connects[i]); err != nil {
				errs <- fmt.Errorf("connect %d: %w", i, err)
			}
		})
		wg.Go(func() {
			r, err := b.e.Wait(within(t), accepts[i])
			if err != nil {
				errs <- fmt.Errorf("accept %d: %w", i, err)
				return
			}
			s, err := b.p.Socket(r.Accept().QD)
			if err != nil {
				errs <- err
				return
			}
			if err := s.Close(); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	for _, s := range socks {
		wg.Go(func() { _ = s.Close() })
	}
	wg.Wait()
	require.NoError(t, l.Close())
	a.quiesce(t)
	b.quiesce(t)
}

func TestClosingASocketWhileItConnectsCancelsItsToken(t *testing.T) {
	for _, tc := range []struct {
		phase string
		fault func(p *pair) *sim.Fault
	}{
		{"the address", func(p *pair) *sim.Fault { return p.net.When(sim.Event(rdma.AddrResolved)).Hold() }},
		{"the route", func(p *pair) *sim.Fault { return p.net.When(sim.Event(rdma.RouteResolved)).Hold() }},
		{"the answer", func(p *pair) *sim.Fault { return p.net.When(sim.Message(sim.REQ)).Hold() }},
		{"the confirmation", func(p *pair) *sim.Fault { return p.net.When(sim.Message(sim.REP)).Hold() }},
	} {
		t.Run("waiting for "+tc.phase, func(t *testing.T) {
			p := newPair(t, testConfig(), sim.Config{})
			_, at := p.b.listen(t, p.b.addr, 1)
			f := tc.fault(p)
			s, qt := p.a.connecting(t, at)
			<-f.Strikes()
			require.NoError(t, s.Close())
			require.Equal(t, syscall.ECANCELED, p.a.waitErrno(t, qt))
			f.Release()
			p.a.quiesce(t)
		})
	}
}

func TestClosingASocketWhileItsQueuePairIsMadeCancelsItsToken(t *testing.T) {
	p := newPlace(t, testConfig())
	const cycles = 200 // the close falls into every phase, this one included
	_, at := p.b.listen(t, p.b.addr, cycles)
	for range cycles {
		s, qt := p.a.connecting(t, at)
		require.NoError(t, s.Close())
		r, err := p.a.e.Wait(within(t), qt)
		if err == nil {
			require.Equal(t, datapath.OpConnect, r.Opcode)
		} else {
			require.ErrorIs(t, err, syscall.ECANCELED)
		}
	}
	p.a.quiesce(t)
}

// cycles connects, exchanges one message and closes, n times; what is left behind must
// be the same after n as after a few.
func cycles(t *testing.T, a, b *node, server netip.Addr, n int, objects func() (others string, regions int)) {
	t.Helper()
	// Arenas that other tests have needed stay, too.
	most := datapath.TakeCensus().ArenaBytes + 16<<20
	l, at := b.listen(t, server, 16)
	cycle := func(i int) {
		qa := accepting(t, l)
		c := a.connect(t, netip.AddrPort{}, at)
		s := b.accepted(t, qa)
		msg := fmt.Sprint("message ", i)
		a.send(t, c, msg)
		require.Equal(t, msg, b.recv(t, s))
		require.NoError(t, c.Close())
		require.Empty(t, b.recv(t, s))
		require.NoError(t, s.Close())
	}
	type state struct {
		others          string
		regions         int // beyond those of the arenas
		census          datapath.Census
		fds, goroutines int
	}
	rest := func() state {
		a.quiesce(t)
		b.quiesce(t)
		others, regions := objects()
		s := state{others, regions, datapath.TakeCensus(), rdmatest.FDs(t), rdmatest.Goroutines()}
		// Arenas stay, for the next connection: as many as were ever needed at once,
		// registered with each device that has used them.
		s.regions -= int(s.census.Regions)
		require.LessOrEqual(t, s.census.ArenaBytes, most, "arenas do not grow with the number of connections")
		s.census.Regions, s.census.ArenaBytes = 0, 0
		return s
	}
	for i := range 10 {
		cycle(i)
	}
	before := rest()
	start := time.Now()
	for i := range n {
		cycle(i)
	}
	t.Logf("%d cycles: %v each", n, time.Since(start)/time.Duration(n))
	after := rest()
	require.LessOrEqual(t, after.goroutines, before.goroutines, "goroutines")
	after.goroutines = before.goroutines
	require.Equal(t, before, after)
	require.NoError(t, l.Close())
}

func TestAThousandConnectionsLeaveNothingBehind(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	n := 1000
	if testing.Short() {
		n = 200
	}
	cycles(t, p.a, p.b, p.b.addr, n, func() (string, int) {
		c := p.net.Census()
		return fmt.Sprint(c.EventChannels, c.IDs, c.Channels, c.PDs, c.CQs, c.QPs, c.UnackedEvents), c.MRs
	})
}

func TestAThousandRefusalsLeaveNothingBehind(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	before := datapath.TakeCensus()
	for i := range 1000 {
		if i%16 == 10 { // no more are being torn down at once than one completion queue has room for
			p.a.quiesce(t)
		}
		if i == 10 {
			before = datapath.TakeCensus()
		}
		got, _ := p.a.mustFail(t, netip.AddrPortFrom(p.b.addr, 9))
		require.Equal(t, syscall.ECONNREFUSED, got)
	}
	p.a.quiesce(t)
	require.Equal(t, before, datapath.TakeCensus())
	require.Equal(t, 0, p.net.Census().QPs)
}

func TestACompletionQueueThatIsFullIsFollowedByAnother(t *testing.T) {
	cfg := testConfig()
	cfg.CQDepth = 256 // room for a few connections
	p := newPair(t, cfg, sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 20)
	var socks, peers []*Socket
	for range 12 {
		socks = append(socks, p.a.connect(t, netip.AddrPort{}, at))
		peers = append(peers, p.b.accept(t, l))
	}
	require.Greater(t, p.net.Census().CQs, 2, "on two hosts")
	for i := range socks {
		p.a.send(t, socks[i], fmt.Sprint(i))
		require.Equal(t, fmt.Sprint(i), p.b.recv(t, peers[i]))
	}
	require.Zero(t, p.net.Census().CQOverruns)
}

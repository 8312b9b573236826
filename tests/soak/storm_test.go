package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/libos"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
)

func TestMain(m *testing.M) {
	if at := os.Getenv(clientVar); at != "" {
		os.Exit(clientProcess(at))
	}
	rdmatest.Main(m)
}

// patience is a generous limit for what takes milliseconds on an idle machine.
const patience = time.Minute

// party is a libOS with one engine.
type party struct {
	p *libos.Process
	e *libos.Engine
}

func startParty(f rdma.Fabric) (*party, error) {
	cfg := libos.DefaultConfig()
	cfg.ConnectTimeout = patience // a storm is no time for deadlines
	p, err := libos.New(cfg, f)
	if err != nil {
		return nil, err
	}
	e, err := p.NewEngine()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &party{p, e}, nil
}

func newParty(t *testing.T, f rdma.Fabric) *party {
	t.Helper()
	n, err := startParty(f)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, n.p.Shutdown(ctx))
		require.Zero(t, n.p.Stats().Leaks, "objects could not be destroyed")
	})
	return n
}

// wait redeems a token, which must take less than patience.
func (n *party) wait(qt datapath.Token, err error) (datapath.Result, error) {
	if err != nil {
		return datapath.Result{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.e.Wait(ctx, qt)
}

// connect makes a connection.
func (n *party) connect(at netip.AddrPort) (*libos.Socket, error) {
	s, err := n.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if _, err := n.wait(s.Connect(at)); err != nil {
		return nil, errors.Join(err, s.Err(), s.Close())
	}
	return s, nil
}

// ping sends a message to an echo server and checks what comes back.
func (n *party) ping(s *libos.Socket, text string) error {
	if _, err := n.wait(s.Push([]byte(text))); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	r, err := n.wait(s.Pop())
	if err != nil {
		return fmt.Errorf("pop: %w", err)
	}
	if got := string(libos.TakeBytes(&r)); got != text {
		return fmt.Errorf("sent %q, %q came back", text, got)
	}
	return nil
}

// echoServer accepts whoever comes and sends back what they send.
type echoServer struct {
	*party
	l    *libos.Socket
	at   netip.AddrPort
	work sync.WaitGroup // accepting, and one for each connection

	mu   sync.Mutex
	less sync.Cond // live or busy has become less
	live int       // connections being served
	busy int       // goroutines that have something to do before they wait for a peer again
}

// serve starts an echo server on a free port of addr.
func serve(t *testing.T, n *party, addr netip.Addr, backlog int) *echoServer {
	t.Helper()
	l, err := n.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, l.Bind(netip.AddrPortFrom(addr, 0)))
	require.NoError(t, l.Listen(backlog))
	at, err := l.GetSockName()
	require.NoError(t, err)
	s := &echoServer{party: n, l: l, at: at}
	s.less.L = &s.mu
	for range 4 {
		s.count(0, 1)
		s.work.Go(s.accept)
	}
	return s
}

// count changes the numbers of connections and of busy goroutines.
func (s *echoServer) count(live, busy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live += live
	s.busy += busy
	if live < 0 || busy < 0 {
		s.less.Broadcast()
	}
}

// idle waits for a token of an operation that has just begun, and is not busy meanwhile.
func (s *echoServer) idle(qt datapath.Token, err error) (datapath.Result, error) {
	if err != nil {
		return datapath.Result{}, err
	}
	s.count(0, -1)
	defer s.count(0, 1)
	return s.e.Wait(context.Background(), qt)
}

func (s *echoServer) accept() {
	defer s.count(0, -1)
	for {
		r, err := s.idle(s.l.Accept())
		if err != nil {
			return
		}
		c, err := s.p.Socket(r.Accept().QD)
		if err != nil {
			return
		}
		s.count(1, 1)
		s.work.Go(func() {
			s.echo(c)
			s.count(-1, -1)
		})
	}
}

// settle waits until n connections are being served, the server closing after its clients, and
// for each of them as for the listener nothing is left to do. The n have been pinged, and so
// counted.
func (s *echoServer) settle(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.live > n || s.busy > 0 {
		s.less.Wait()
	}
}

// echo serves one connection to its end, which may be its client's death.
func (s *echoServer) echo(c *libos.Socket) {
	defer func() { _ = c.Close() }()
	for {
		r, err := s.idle(c.Pop())
		if err != nil {
			return
		}
		b := libos.TakeBytes(&r)
		if len(b) == 0 {
			return
		}
		if _, err := s.wait(c.Push(b)); err != nil {
			return
		}
	}
}

// stop ends the server, whose clients have closed or died.
func (s *echoServer) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, s.l.Close())
	s.work.Wait()
}

// remains is what a storm must leave as it was.
type remains struct {
	objects         string // RDMA objects but memory regions
	regions         int    // beyond those of the arenas
	census          datapath.Census
	fds, goroutines int
}

// remain looks once everything that was closed is released. Arenas stay, for the next
// connection: as many as were ever needed at once.
func remain(t *testing.T, objects func() (string, int), parties ...*party) remains {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, n := range parties {
		require.NoError(t, n.p.Quiesce(ctx))
	}
	others, regions := objects()
	r := remains{others, regions, datapath.TakeCensus(), rdmatest.FDs(t), rdmatest.Goroutines()}
	r.regions -= int(r.census.Regions)
	r.census.Regions, r.census.ArenaBytes = 0, 0
	return r
}

func requireSame(t *testing.T, before, after remains) {
	t.Helper()
	require.LessOrEqual(t, after.goroutines, before.goroutines, "goroutines")
	after.goroutines = before.goroutines
	require.Equal(t, before, after)
}

// cycles connects, pings and closes n times while another connection to the same peer lives,
// which must stand it; the last cycles must take no longer than the first, and nothing is left
// behind.
func cycles(t *testing.T, client, server *party, addr netip.Addr, n int, objects func() (string, int)) {
	t.Helper()
	srv := serve(t, server, addr, 16)
	long, err := client.connect(srv.at)
	require.NoError(t, err)
	cycle := func(i int) time.Duration {
		start := time.Now()
		s, err := client.connect(srv.at)
		require.NoError(t, err, "connect %d", i)
		require.NoError(t, client.ping(s, fmt.Sprint("cycle ", i)))
		require.NoError(t, s.Close())
		return time.Since(start)
	}
	warm := max(n/50, 4)
	for i := range warm {
		cycle(i)
	}
	require.NoError(t, client.ping(long, "the first"))
	srv.settle(1)
	before := remain(t, objects, client, server)
	took := make([]time.Duration, n)
	for i := range took {
		took[i] = cycle(i)
		if i%(n/4) == 0 {
			require.NoError(t, client.ping(long, "still here"))
		}
	}
	require.NoError(t, client.ping(long, "still here"))
	srv.settle(1)
	after := remain(t, objects, client, server)
	requireSame(t, before, after)
	// A leak of time grows with the cycles so far, and the quickest cycle of a quarter with it. What
	// else the machine does makes some cycles longer, not all.
	quarters := make([]time.Duration, 4)
	for q := range quarters {
		quarters[q] = slices.Min(took[q*n/4 : (q+1)*n/4])
	}
	slices.Sort(took)
	t.Logf("%d cycles: quickest of each quarter %v, median %v, longest %v", n, quarters, took[n/2], took[n-1])
	require.Less(t, quarters[3], 2*quarters[0], "cycles grow longer")
	require.NoError(t, long.Close())
	srv.stop(t)
}

// crowdOf makes n connections, some at a time, and has all of them exchange messages while
// all are alive.
func crowdOf(t *testing.T, client, server *party, addr netip.Addr, n int, objects func() (string, int)) {
	t.Helper()
	srv := serve(t, server, addr, n) // who accepts may be slower than all who connect
	first, err := client.connect(srv.at)
	require.NoError(t, err)
	require.NoError(t, client.ping(first, "the first"))
	require.NoError(t, first.Close())
	srv.settle(0)
	before := remain(t, objects, client, server)
	base := datapath.TakeCensus()

	socks := make([]*libos.Socket, n)
	var failed sync.Map
	each := func(what string, f func(i int) error) time.Duration {
		var wg sync.WaitGroup
		start := time.Now()
		slots := make(chan struct{}, 64)
		for i := range socks {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := f(i); err != nil {
					failed.Store(i, fmt.Errorf("%s %d: %w", what, i, err))
				}
			})
		}
		wg.Wait()
		failed.Range(func(_, err any) bool { return assert.NoError(t, err.(error)) })
		require.False(t, t.Failed())
		return time.Since(start)
	}
	connects := each("connect", func(i int) (err error) {
		socks[i], err = client.connect(srv.at)
		return err
	})
	c := datapath.TakeCensus()
	require.Equal(t, base.Conns+2*uint64(n), c.Conns, "both ends are here")
	pings := each("ping", func(i int) error { return client.ping(socks[i], fmt.Sprint("connection ", i)) })
	// Everybody pushes before anybody pops.
	each("push", func(i int) error {
		_, err := client.wait(socks[i].Push(fmt.Appendf(nil, "all of us, %d", i)))
		return err
	})
	each("pop", func(i int) error {
		r, err := client.wait(socks[i].Pop())
		if err != nil {
			return err
		}
		if got := string(libos.TakeBytes(&r)); got != fmt.Sprint("all of us, ", i) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
	c = datapath.TakeCensus()
	all, _ := objects()
	t.Logf("%d connections in %v, pings in %v; %d completion queues; arenas %d bytes, registered with each "+
		"device: %d bytes for each end; alive: %s", n, connects, pings, c.CQs, c.ArenaBytes,
		(c.ArenaBytes-base.ArenaBytes)/uint64(2*n), all)
	t.Logf("closes in %v", each("close", func(i int) error { return socks[i].Close() }))
	srv.settle(0)
	requireSameButCQs(t, before, remain(t, objects, client, server))
	srv.stop(t)
}

var completionQueues = regexp.MustCompile(`\bcq=\d+`)

// requireSameButCQs lets completion queues stay: an engine keeps those that it ever needed.
func requireSameButCQs(t *testing.T, before, after remains) {
	t.Helper()
	before.census.CQs, after.census.CQs = 0, 0
	before.objects = completionQueues.ReplaceAllString(before.objects, "")
	after.objects = completionQueues.ReplaceAllString(after.objects, "")
	requireSame(t, before, after)
}

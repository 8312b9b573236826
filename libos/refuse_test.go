package libos

import (
	"log/slog"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/libos/hello"
	"catmint/rdma"
	"catmint/rdma/sim"
)

// mustFail connects and returns the errno; the socket must then answer EBADF to
// everything but Close.
func (n *node) mustFail(t *testing.T, at netip.AddrPort) (syscall.Errno, *ConnectError) {
	t.Helper()
	s, qt := n.connecting(t, at)
	got := n.waitErrno(t, qt)
	var ce *ConnectError
	require.ErrorAs(t, s.Err(), &ce)
	require.Equal(t, got, ce.Err)
	require.ErrorIs(t, ce, got)
	expectAllEBADF(t, s)
	require.NoError(t, s.Close())
	return got, ce
}

func expectAllEBADF(t *testing.T, s *Socket) {
	t.Helper()
	addr := netip.MustParseAddrPort("10.0.0.1:1")
	require.ErrorIs(t, s.Bind(addr), syscall.EBADF)
	require.ErrorIs(t, s.Listen(1), syscall.EBADF)
	_, err := s.Accept()
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = s.Connect(addr)
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = s.Push([]byte("x"))
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = s.Pop()
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = s.GetPeerName()
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = s.GetSockName()
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = s.GetOption(unix.SOL_SOCKET, unix.SO_TYPE)
	require.ErrorIs(t, err, syscall.EBADF)
	require.ErrorIs(t, s.SetOption(unix.SOL_SOCKET, unix.SO_REUSEADDR, nativeBytes(1)), syscall.EBADF)
	require.ErrorIs(t, s.SetLinger(0), syscall.EBADF)
	require.ErrorIs(t, s.CloseWrite(), syscall.EBADF)
	_, err = s.Stats()
	require.ErrorIs(t, err, syscall.EBADF)
}

func TestNobodyListeningIsRefused(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	for _, addr := range []netip.Addr{p.b.addr, p.b.ip6} {
		got, ce := p.a.mustFail(t, netip.AddrPortFrom(addr, 4711))
		require.Equal(t, syscall.ECONNREFUSED, got)
		require.Equal(t, "waiting for the peer's answer", ce.Phase)
		require.Equal(t, "sima", ce.Device)
		require.Contains(t, ce.Hint, "is the server running")
		require.NotContains(t, ce.Error(), "\n")
	}
	require.EqualValues(t, 2, p.a.p.Stats().Failures[syscall.ECONNREFUSED])
}

func TestAHostThatDoesNotAnswerIsUnreachable(t *testing.T) {
	cfg := testConfig()
	cfg.ResolveTimeout, cfg.RetryDelay = 50*time.Millisecond, time.Millisecond
	p := newPair(t, cfg, sim.Config{})
	got, ce := p.a.mustFail(t, netip.MustParseAddrPort("10.0.0.77:7174"))
	require.Equal(t, syscall.EHOSTUNREACH, got)
	require.Equal(t, "resolving the address", ce.Phase)
}

func TestANetworkWithoutRouteIsUnreachable(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	got, _ := p.a.mustFail(t, netip.MustParseAddrPort("203.0.113.1:7174"))
	require.Equal(t, syscall.ENETUNREACH, got)
}

func TestAResolvedHostThatDoesNotAnswerTimesOut(t *testing.T) {
	cfg := testConfig()
	cfg.ConnectTimeout = 100 * time.Millisecond
	p := newPair(t, cfg, sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Message(sim.REQ)).Always().Drop()
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.ETIMEDOUT, got)
	require.Equal(t, "waiting for the peer's answer", ce.Phase)
}

func TestUnreachableFromTheConnectionManagerIsATimeout(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Message(sim.REQ)).TimeOut()
	got, _ := p.a.mustFail(t, at)
	require.Equal(t, syscall.ETIMEDOUT, got)
}

func TestAStaleConnectionIsTriedAgainWithANewQueuePair(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 1)
	f := p.net.When(sim.Message(sim.REQ)).Times(2)
	f.Reject(rdma.RejectStaleConn)
	c := p.a.connect(t, netip.AddrPortFrom(p.a.addr, 41000), at)
	require.Equal(t, 2, f.Struck())
	local, err := c.GetSockName()
	require.NoError(t, err)
	require.Equal(t, netip.AddrPortFrom(p.a.addr, 41000), local, "still bound to where it was bound")
	s := p.b.accept(t, l)
	p.a.send(t, c, "hello")
	require.Equal(t, "hello", p.b.recv(t, s))
}

func TestAStaleConnectionForEverFails(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Message(sim.REQ)).Always().Reject(rdma.RejectStaleConn)
	got, _ := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNRESET, got)
}

func TestADeviceWithoutQueuePairsMeansTryAgain(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Call(sim.CallCreateQP)).At(p.hosts[0]).Fail(syscall.ENOMEM)
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.EAGAIN, got)
	require.Equal(t, "creating the queue pair", ce.Phase)
}

func TestLockedMemoryUsedUpIsNotEnoughMemory(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Call(sim.CallCreateCQ)).At(p.hosts[0]).Fail(syscall.ENOMEM)
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.ENOMEM, got)
	require.Contains(t, ce.Hint, "ulimit -l")
}

func TestAServerWithoutQueuePairsRefuses(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Call(sim.CallCreateQP)).At(p.hosts[1]).Fail(syscall.ENOMEM)
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got)
	require.Contains(t, ce.Detail, hello.ReasonResources.String())
	// And is none the worse for it.
	c := p.a.connect(t, netip.AddrPort{}, at)
	s := p.b.accept(t, l)
	p.a.send(t, c, "x")
	require.Equal(t, "x", p.b.recv(t, s))
}

func TestAnAnswerThatIsNotOursIsAProtocolError(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	at := foreignServer(t, p.hosts[1], netip.AddrPortFrom(p.b.addr, 5001), func(ev rdma.Event) {
		acceptForeign(t, ev.ID, []byte("220 smtp.example.org ready"))
	})
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.EPROTO, got)
	require.Contains(t, ce.Hint, "does not run Catmint")
}

func TestARejectThatIsNotOursIsARefusal(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	at := foreignServer(t, p.hosts[1], netip.AddrPortFrom(p.b.addr, 5002), func(ev rdma.Event) {
		require.NoError(t, ev.ID.Reject(nil))
		require.NoError(t, ev.ID.Close())
	})
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got)
	require.Contains(t, ce.Hint, "check the port", "somebody listens")
}

// foreignServer listens with bare ids and handles its requests by f.
func foreignServer(t *testing.T, f rdma.Fabric, at netip.AddrPort, handle func(rdma.Event)) netip.AddrPort {
	t.Helper()
	ch, err := f.NewEventChannel()
	require.NoError(t, err)
	id, err := ch.CreateID()
	require.NoError(t, err)
	require.NoError(t, id.BindAddr(at))
	require.NoError(t, id.Listen(8))
	quit, done := make(chan struct{}), make(chan struct{})
	var ids []rdma.ID
	go func() {
		defer close(done)
		for {
			for {
				ev, ok, err := ch.GetEvent()
				if err != nil || !ok {
					break
				}
				switch ev.Type {
				case rdma.ConnectRequest:
					ids = append(ids, ev.ID)
					handle(ev)
				case rdma.Disconnected:
					_ = ev.ID.Disconnect()
				default:
				}
			}
			select {
			case <-ch.Readable():
			case <-quit:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(quit)
		<-done
		for _, i := range ids {
			closeForeign(i)
		}
		require.NoError(t, id.Close())
		require.NoError(t, ch.Close())
	})
	return at
}

// foreign is what a bare server has made for an id.
var foreign = map[rdma.ID][]interface{ Close() error }{}

func acceptForeign(t *testing.T, id rdma.ID, private []byte) {
	t.Helper()
	pd, err := id.Device().AllocPD()
	require.NoError(t, err)
	cq, err := id.Device().CreateCQ(16, nil)
	require.NoError(t, err)
	qp, err := id.CreateQP(pd, rdma.QPInitAttr{
		SendCQ: cq, RecvCQ: cq, Caps: rdma.QPCaps{MaxSendWR: 1, MaxRecvWR: 1, MaxSendSGE: 1, MaxRecvSGE: 1},
	})
	require.NoError(t, err)
	foreign[id] = []interface{ Close() error }{qp, id, cq, pd}
	require.NoError(t, id.Accept(rdma.ConnParam{PrivateData: private}))
}

func closeForeign(id rdma.ID) {
	for _, c := range foreign[id] {
		_ = c.Close()
	}
	delete(foreign, id)
}

func TestAForeignRequestIsRefusedWithItsReason(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	for _, tc := range []struct {
		name    string
		private []byte
		want    hello.Reason
	}{
		{"no private data", nil, hello.ReasonForeign},
		{"a later version", func() []byte {
			b := hello.Hello{Kind: hello.Offer}.Marshal()
			b[6], b[7] = 9, 9
			return b
		}(), hello.ReasonVersion},
		{"impossible limits", hello.Hello{Kind: hello.Offer, MinVersion: 1, MaxVersion: 1}.Marshal(), hello.ReasonMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			con, err := NewConnector(testConfig(), p.hosts[0])
			require.NoError(t, err)
			raw := newRawQP(t)
			_, err = con.Dial(within(t), netip.AddrPort{}, at, Hooks{
				Create: raw.create, Destroy: raw.destroy,
				Param: func(rdma.ID) rdma.ConnParam { return rdma.ConnParam{PrivateData: tc.private, RetryCount: 6} },
			})
			require.ErrorIs(t, err, syscall.EPROTO)
			require.ErrorContains(t, err, tc.want.String())
			require.NoError(t, con.Close(within(t)))
			raw.release()
		})
	}
	require.EqualValues(t, 3, p.b.p.Stats().BadHellos)
}

func TestBeyondTheBacklogConnectionsAreRefusedAndNotLost(t *testing.T) {
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, p.b.addr, 2)
	// Two are established before anybody accepts; they can already send.
	c1 := p.a.connect(t, netip.AddrPort{}, at)
	c2 := p.a.connect(t, netip.AddrPort{}, at)
	p.a.send(t, c1, "one")
	p.a.send(t, c2, "two")
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got)
	require.Contains(t, ce.Detail, hello.ReasonFull.String())
	require.Contains(t, ce.Hint, "try again later")
	require.EqualValues(t, 1, p.b.p.Stats().Refused)

	s1, s2 := p.b.accept(t, l), p.b.accept(t, l)
	require.Equal(t, "one", p.b.recv(t, s1))
	require.Equal(t, "two", p.b.recv(t, s2))
	// There is room again.
	c3 := p.a.connect(t, netip.AddrPort{}, at)
	s3 := p.b.accept(t, l)
	p.b.send(t, s3, "three")
	require.Equal(t, "three", p.a.recv(t, c3))
}

// halfOpen sends n requests whose connections are never confirmed, and returns when all are answered.
func halfOpen(t *testing.T, p *pair, at netip.AddrPort, n int) {
	t.Helper()
	lost := p.net.When(sim.Message(sim.RTU)).Always().Drop()
	defer lost.Lift()
	for range n {
		_, qt := p.a.connecting(t, at)
		_ = p.a.wait(t, qt) // as far as the active side knows it is established
	}
}

func TestWhoNeverConfirmsGivesWayInAFullBacklog(t *testing.T) {
	cfg := testConfig()
	var log lockedBuffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	cfg.ConfirmTime = 50 * time.Millisecond
	p := newPair(t, cfg, sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 4)
	halfOpen(t, p, at, 4)
	var c *Socket
	require.Eventually(t, func() bool {
		s, qt := p.a.connecting(t, at)
		if _, err := p.a.e.Wait(within(t), qt); err != nil {
			require.Equal(t, syscall.ECONNREFUSED, errno(err), "while all are within their time")
			require.NoError(t, s.Close())
			return false
		}
		c = s
		return true
	}, patience, time.Millisecond)
	p.a.send(t, c, "I mean it")
	require.Equal(t, "I mean it", p.b.recv(t, p.b.accept(t, l)))
	require.EqualValues(t, 1, p.b.p.Stats().Lost, "one has given way, no more")
	require.Contains(t, log.line(t, "connection lost before it was established"),
		"detail=\"evicted: the peer has not confirmed it, and the backlog was full\"")
}

func TestWithinTheirTimeThoseWhoDoNotConfirmKeepTheirPlaces(t *testing.T) {
	cfg := testConfig()
	cfg.ConfirmTime = time.Hour
	p := newPair(t, cfg, sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 3)
	halfOpen(t, p, at, 3)
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got, "%v", ce)
	require.Zero(t, p.b.p.Stats().Lost)
}

func TestARemovedDeviceReleasesRequestsThatNobodyConfirmed(t *testing.T) {
	var log lockedBuffer
	cfg := testConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p := newPair(t, cfg, sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 4)
	halfOpen(t, p, at, 3)
	ids := func() (n int) {
		require.NoError(t, p.b.e.loop.call(func() error {
			n = len(p.b.e.loop.owners)
			return nil
		}))
		return n
	}
	require.Equal(t, 4, ids(), "the listener's, and one a request")
	require.True(t, p.hosts[1].RemoveDevice("simb"))
	require.Eventually(t, func() bool { return ids() == 0 }, patience, time.Millisecond)
	// CM may tell a connection before the listener.
	require.NotContains(t, log.String(), "closed by the application")
	require.NoError(t, l.Close())
}

func TestAConnectionThatWasClosedBeforeItWasAcceptedCanStillBeRead(t *testing.T) {
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, p.b.addr, 1)
	c := p.a.connect(t, netip.AddrPort{}, at)
	p.a.send(t, c, "last words")
	require.NoError(t, c.Close())
	s := p.b.accept(t, l)
	require.Equal(t, "last words", p.b.recv(t, s))
	require.Empty(t, p.b.recv(t, s))
}

func TestClosingAListenerCancelsItsAcceptsAndCutsWhatNobodyAccepted(t *testing.T) {
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, p.b.addr, 4)
	c := p.a.connect(t, netip.AddrPort{}, at)
	s := p.b.accept(t, l)
	c2 := p.a.connect(t, netip.AddrPort{}, at)
	pop, err := c2.Pop()
	require.NoError(t, err)

	qts := make([]datapath.Token, 3)
	// One accept takes c2; the rest wait.
	l2, _ := p.b.listen(t, p.b.addr, 1)
	for i := range qts {
		qts[i], err = l2.Accept()
		require.NoError(t, err)
	}
	require.NoError(t, l2.Close())
	for _, qt := range qts {
		require.Equal(t, syscall.ECANCELED, p.b.waitErrno(t, qt))
	}
	require.NoError(t, l.Close())
	require.Equal(t, syscall.ECONNRESET, p.a.waitErrno(t, pop))
	// What was accepted lives on.
	p.a.send(t, c, "still here")
	require.Equal(t, "still here", p.b.recv(t, s))
	got, _ := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got)
}

func TestAConnectErrorIsOneLineForPeople(t *testing.T) {
	ce := &ConnectError{
		Op: "connect", Peer: "127.0.0.1:7174", Phase: "resolving the route", Device: "rxe0", Err: syscall.ENETUNREACH,
		Detail: "ROUTE_ERROR -19", Hint: hint(syscall.ENETUNREACH, nil, true),
	}
	require.Equal(t, "connect 127.0.0.1:7174: resolving the route: network is unreachable (device rxe0): ROUTE_ERROR -19; "+
		"RDMA does not work over the loopback address: use an address of an RDMA network device", ce.Error())
	for _, e := range []syscall.Errno{
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL, syscall.ECONNREFUSED, syscall.ETIMEDOUT,
		syscall.ENOMEM, syscall.EAGAIN, syscall.EPROTO, syscall.ENODEV,
	} {
		require.NotEmpty(t, hint(e, nil, false), "%v", e)
		require.NotContains(t, hint(e, nil, false), "\n")
	}
}

func TestWithoutTokensNothingCanBeStarted(t *testing.T) {
	cfg := testConfig()
	cfg.MaxTokens = 2
	p := newPlace(t, cfg)
	l, at := p.b.listen(t, p.b.addr, 1)
	var taken []datapath.Token
	for range 2 {
		taken = append(taken, accepting(t, l))
	}
	_, err := l.Accept()
	require.ErrorIs(t, err, syscall.EAGAIN)
	s := p.b.socket(t, unix.AF_INET)
	_, err = s.Connect(at)
	require.ErrorIs(t, err, syscall.EAGAIN)
	_, err = s.CloseAsync()
	require.ErrorIs(t, err, syscall.EAGAIN)
	// The socket is as it was: with a token it connects.
	require.NoError(t, l.Close())
	for _, qt := range taken {
		require.Equal(t, syscall.ECANCELED, p.b.waitErrno(t, qt))
	}
	qt, err := s.Connect(at)
	require.NoError(t, err)
	require.Equal(t, syscall.ECONNREFUSED, p.b.waitErrno(t, qt))
	require.NoError(t, s.Close())
}

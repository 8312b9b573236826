package sim_test

import (
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
	"catmint/rdma/sim/internal/verbs"
)

// dialing is a client that has sent its request to a server that listens.
func dialing(t *testing.T, w *world) (server, client *loop, a *side) {
	t.Helper()
	server, client = w.loop(w.server), w.loop(w.client)
	server.listen("10.0.0.1:1", 16)
	a = client.resolved(addr("10.0.0.1:1"))
	require.NoError(t, a.id.Connect(param("hello")))
	return server, client, a
}

func TestALostMessageIsSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		lost sim.MessageType
		from func(*world) *sim.Host
	}{
		"request":      {sim.REQ, func(w *world) *sim.Host { return w.client }},
		"reply":        {sim.REP, func(w *world) *sim.Host { return w.server }},
		"ready to use": {sim.RTU, func(w *world) *sim.Host { return w.client }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sim.Config{})
			f := w.net.When(sim.Message(c.lost)).At(c.from(w)).Drop()
			server, client, _ := dialing(t, w)
			if c.lost == sim.REQ {
				server.silent()
				w.net.Advance(sim.ResponseTimeout)
			}
			p, _ := server.request()
			require.NoError(t, p.id.Accept(param("")))
			if c.lost == sim.REP {
				client.silent()
				w.net.Advance(sim.ResponseTimeout)
			}
			client.expect(rdma.Established)
			if c.lost == sim.RTU {
				server.silent()
				w.net.Advance(sim.ResponseTimeout)
			}
			server.expect(rdma.Established)
			require.Equal(t, 1, f.Struck())
			_, pending := w.net.NextTimer()
			require.False(t, pending, "nothing is sent any more")
		})
	}
}

func TestAnUnansweredConnectBecomesUnreachable(t *testing.T) {
	t.Run("after all retries", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		f := w.net.When(sim.Message(sim.REQ)).Always().Drop()
		server, client, _ := dialing(t, w)
		w.net.Advance(time.Minute)
		client.silent()
		w.net.Advance(time.Minute)
		require.Equal(t, -int(syscall.ETIMEDOUT), client.expect(rdma.Unreachable).Status)
		require.Equal(t, 1+sim.MaxRetries, f.Struck())
		server.silent()
	})
	t.Run("at once", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		w.net.When(sim.Message(sim.REQ)).TimeOut()
		_, client, _ := dialing(t, w)
		client.expect(rdma.Unreachable)
	})
	t.Run("on the passive side", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		w.net.When(sim.Message(sim.REP)).TimeOut()
		server, client, _ := dialing(t, w)
		p, _ := server.request()
		require.NoError(t, p.id.Accept(param("")))
		server.expect(rdma.Unreachable)
		client.silent()
	})
	t.Run("never, if the id is destroyed", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		w.net.When(sim.Message(sim.REQ)).Always().Drop()
		_, client, a := dialing(t, w)
		require.NoError(t, a.qp.Close())
		require.NoError(t, a.id.Close())
		w.net.Advance(time.Hour)
		client.silent()
	})
}

func TestAFullBacklogLosesRequestsInSilence(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	server.listen("10.0.0.1:1", 2)
	for range 3 {
		require.NoError(t, client.resolved(addr("10.0.0.1:1")).id.Connect(param("")))
	}
	server.request()
	server.request()
	server.silent()
	client.silent()
	w.net.Advance(sim.ResponseTimeout)
	server.request()
}

func TestAClientThatGivesUpSpoilsTheAccept(t *testing.T) {
	t.Run("before it", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		server, _, a := dialing(t, w)
		p, _ := server.request()
		require.NoError(t, a.qp.Close())
		require.NoError(t, a.id.Close())
		server.silent()
		require.Equal(t, syscall.EINVAL, errnoOf(p.id.Accept(param(""))))
	})
	t.Run("after it", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		server, _, a := dialing(t, w)
		p, _ := server.request()
		require.NoError(t, p.id.Accept(param("")))
		require.NoError(t, a.qp.Close())
		require.NoError(t, a.id.Close())
		require.Equal(t, int(rdma.RejectConsumerDefined), server.expect(rdma.Rejected).Status)
		require.Equal(t, rdma.QPErr, state(t, p.qp))
	})
}

func TestAcceptChecksWhatItIsGiven(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, _, _ := dialing(t, w)
	ev := server.expect(rdma.ConnectRequest)
	t.Cleanup(func() { require.NoError(t, ev.ID.Close()) })
	require.Equal(t, syscall.EINVAL, errnoOf(ev.ID.Accept(param(""))), "no queue pair")
	s := server.side(ev.ID)
	big := param("")
	big.PrivateData = make([]byte, 197)
	require.Equal(t, syscall.EINVAL, errnoOf(s.id.Accept(big)))
	require.NoError(t, s.id.Accept(param("")))
	require.Equal(t, syscall.EINVAL, errnoOf(s.id.Accept(param(""))), "twice")
}

func TestTheSidesNegotiateTheirQueuePairs(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client, _ := dialing(t, w)
	p, _ := server.request()
	reply := param("")
	reply.ResponderResources, reply.InitiatorDepth, reply.RNRRetryCount = 2, 1, 5
	require.NoError(t, p.id.Accept(reply))
	client.expect(rdma.Established)
	a := w.client.QPs()[0].Stats()
	require.Equal(t, uint8(2), a.MaxRdAtomic)
	require.Equal(t, uint8(1), a.MaxDestRead)
	require.Equal(t, uint8(6), a.RetryCount)
	require.Equal(t, uint8(5), a.RNRRetry, "as the passive side says")
	require.Zero(t, a.MinRNRTimer, "which is 655 ms")
	b := w.server.QPs()[0].Stats()
	require.Equal(t, uint8(1), b.MaxRdAtomic)
	require.Equal(t, uint8(2), b.MaxDestRead)
	require.Equal(t, uint8(7), b.RNRRetry)
	require.NoError(t, p.qp.SetMinRNRTimer(12))
	require.Equal(t, uint8(12), w.server.QPs()[0].Stats().MinRNRTimer)
}

func TestReadsFollowTheNegotiation(t *testing.T) {
	w := newWorld(t, sim.Config{})
	p, a := connected(w.loop(w.server), w.loop(w.client))
	src, err := verbs.Register(p.pd, 64)
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	dst, err := verbs.Register(a.pd, 64)
	require.NoError(t, err)
	defer func() { require.NoError(t, dst.Close()) }()
	copy(src.Bytes(), "far away")
	remote, rkey := src.Remote()
	require.NoError(t, verbs.PostRead(a.qp, 1, dst, 0, 8, remote, rkey))
	require.Equal(t, rdma.WCSuccess, verbs.Poll(a.cq)[0].Status)
	require.Equal(t, "far away", string(dst.Bytes()[:8]))
}

func TestTheListenerGoesBeforeItsRequests(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	l := server.listen("10.0.0.1:1", 4)
	for range 2 {
		require.NoError(t, client.resolved(addr("10.0.0.1:1")).id.Connect(param("")))
	}
	taken, _ := server.request()
	require.NoError(t, l.Close())
	require.Equal(t, int(rdma.RejectConsumerDefined), client.expect(rdma.Rejected).Status)
	server.silent()
	require.NoError(t, taken.id.Accept(param("")), "one that was taken lives on")
	client.expect(rdma.Established)
}

func TestAFailedTransitionIsAConnectError(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client, a := dialing(t, w)
	p, _ := server.request()
	require.NoError(t, p.id.Accept(param("")))
	require.True(t, w.client.FailVerbs("sim0", sim.CallModifyQP, 1, 1, syscall.ENOMEM))
	require.Equal(t, -int(syscall.ENOMEM), client.expect(rdma.ConnectError).Status)
	require.Equal(t, rdma.QPErr, state(t, a.qp))
	server.expect(rdma.Rejected)
	client.silent()
	require.False(t, w.client.FailVerbs("sim9", sim.CallModifyQP, 1, 1, syscall.ENOMEM))
}

func TestAnAcceptThatCannotMoveItsQueuePairFails(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, _, _ := dialing(t, w)
	p, _ := server.request()
	w.server.FailVerbs("sim0", sim.CallModifyQP, 2, 1, syscall.ENOMEM)
	require.Equal(t, syscall.ENOMEM, errnoOf(p.id.Accept(param(""))))
	require.Equal(t, rdma.QPErr, state(t, p.qp))
}

func TestFaultsOnEvents(t *testing.T) {
	resolve := func(t *testing.T, w *world) (*loop, rdma.ID) {
		t.Helper()
		l := w.loop(w.client)
		id := l.id()
		require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second))
		return l, id
	}
	t.Run("dropped", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		w.net.When(sim.Event(rdma.AddrResolved)).Drop()
		l, _ := resolve(t, w)
		l.silent()
		require.NoError(t, l.id().ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second))
		l.expect(rdma.AddrResolved)
	})
	t.Run("late", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		w.net.When(sim.Event(rdma.AddrResolved)).Delay(time.Second)
		l, _ := resolve(t, w)
		w.net.Advance(time.Second - 1)
		l.silent()
		left, ok := w.net.NextTimer()
		require.True(t, ok)
		require.Equal(t, time.Duration(1), left)
		w.net.Advance(left)
		l.expect(rdma.AddrResolved)
	})
	t.Run("late, by the system's clock", func(t *testing.T) {
		w := newWorld(t, sim.Config{RealTime: true})
		w.net.When(sim.Event(rdma.AddrResolved)).Delay(time.Millisecond)
		l, _ := resolve(t, w)
		l.expect(rdma.AddrResolved)
	})
	t.Run("too late", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		w.net.When(sim.Event(rdma.AddrResolved)).Delay(time.Second)
		l, id := resolve(t, w)
		require.NoError(t, id.Close())
		w.net.Advance(time.Minute)
		l.silent()
	})
	t.Run("turned into errors that can be retried", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		w.net.When(sim.Event(rdma.AddrResolved)).Become(rdma.AddrError, -int(syscall.ENODEV))
		w.net.When(sim.Event(rdma.RouteResolved)).Become(rdma.RouteError, -int(syscall.ETIMEDOUT))
		l, id := resolve(t, w)
		require.Equal(t, -int(syscall.ENODEV), l.expect(rdma.AddrError).Status)
		require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second))
		l.expect(rdma.AddrResolved)
		require.NoError(t, id.ResolveRoute(time.Second))
		l.expect(rdma.RouteError)
		require.NoError(t, id.ResolveRoute(time.Second))
		l.expect(rdma.RouteResolved)
	})
	t.Run("a connection request lost on its way up", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		f := w.net.When(sim.Event(rdma.ConnectRequest)).Drop()
		server, client, _ := dialing(t, w)
		<-f.Strikes()
		server.silent()
		w.net.Advance(2 * time.Minute)
		client.expect(rdma.Unreachable)
	})
	t.Run("a connection request for a listener that has gone", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		server, client := w.loop(w.server), w.loop(w.client)
		l := server.listen("10.0.0.1:1", 1)
		f := w.net.When(sim.Event(rdma.ConnectRequest)).Hold()
		require.NoError(t, client.resolved(addr("10.0.0.1:1")).id.Connect(param("")))
		require.NoError(t, l.Close())
		f.Release()
		client.expect(rdma.Rejected)
	})
}

func TestAStaleConnectionIsRejectedByThePeersKernel(t *testing.T) {
	w := newWorld(t, sim.Config{})
	w.net.When(sim.Message(sim.REQ)).Reject(rdma.RejectStaleConn)
	server, client, _ := dialing(t, w)
	require.Equal(t, int(rdma.RejectStaleConn), client.expect(rdma.Rejected).Status)
	server.silent()
}

func TestChosenCallsFail(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.client)
	s := l.resolved(addr("10.0.0.1:1"))
	dev := s.id.Device()
	id := l.id()
	for name, c := range map[string]struct {
		call sim.CallType
		do   func() error
	}{
		"Devices":         {sim.CallDevices, func() error { _, err := w.client.Devices(); return err }},
		"NewEventChannel": {sim.CallNewEventChannel, func() error { _, err := w.client.NewEventChannel(); return err }},
		"CreateID":        {sim.CallCreateID, func() error { _, err := l.ch.CreateID(); return err }},
		"BindAddr":        {sim.CallBindAddr, func() error { return id.BindAddr(addr("0.0.0.0:0")) }},
		"ResolveAddr": {sim.CallResolveAddr, func() error {
			return id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second)
		}},
		"ResolveRoute": {sim.CallResolveRoute, func() error { return s.id.ResolveRoute(time.Second) }},
		"Listen":       {sim.CallListen, func() error { return id.Listen(1) }},
		"CreateQP":     {sim.CallCreateQP, func() error { _, err := s.id.CreateQP(s.pd, s.attr()); return err }},
		"TakeQP":       {sim.CallTakeQP, func() error { return s.id.TakeQP(s.qp) }},
		"CreateQP of a device": {sim.CallCreateQP, func() error {
			_, err := dev.CreateQP(s.pd, 1, s.attr())
			return err
		}},
		"Connect":    {sim.CallConnect, func() error { return s.id.Connect(param("")) }},
		"Accept":     {sim.CallAccept, func() error { return s.id.Accept(param("")) }},
		"Reject":     {sim.CallReject, func() error { return s.id.Reject(nil) }},
		"Disconnect": {sim.CallDisconnect, func() error { return s.id.Disconnect() }},
		"AllocPD":    {sim.CallAllocPD, func() error { _, err := dev.AllocPD(); return err }},
		"NewCompletionChannel": {sim.CallNewCompletionChannel, func() error {
			_, err := dev.NewCompletionChannel()
			return err
		}},
		"CreateCQ": {sim.CallCreateCQ, func() error { _, err := dev.CreateCQ(1, nil); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			f := w.net.When(sim.Call(c.call)).At(w.client).Fail(syscall.ENOMEM)
			var op *rdma.OpError
			err := c.do()
			require.ErrorAs(t, err, &op)
			require.Equal(t, syscall.ENOMEM, errnoOf(err))
			require.Equal(t, 1, f.Struck())
		})
	}
}

func TestFaultsCountFromTheNthForSoManyTimes(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.client)
	try := func() bool {
		id, err := l.ch.CreateID()
		if err == nil {
			require.NoError(t, id.Close())
		}
		return err == nil
	}
	w.net.When(sim.Call(sim.CallCreateID)).At(w.server).Always().Fail(syscall.EMFILE)
	f := w.net.When(sim.Call(sim.CallCreateID)).Nth(2).Times(2).Fail(syscall.EMFILE)
	require.Equal(t, []bool{true, false, false, true}, []bool{try(), try(), try(), try()})
	require.Equal(t, 2, f.Struck())
	g := w.net.When(sim.Call(sim.CallCreateID)).Always().Fail(syscall.EMFILE)
	require.False(t, try())
	g.Lift()
	require.True(t, try())
}

func TestChanceRepeatsWithItsSeed(t *testing.T) {
	draw := func(seed uint64) (out []bool) {
		w := newWorld(t, sim.Config{Seed: seed})
		w.net.When(sim.Call(sim.CallDevices)).Always().Chance(0.5).Fail(syscall.EIO)
		for range 64 {
			_, err := w.server.Devices()
			out = append(out, err != nil)
		}
		return out
	}
	first, again, other := draw(1), draw(1), draw(2)
	require.Equal(t, first, again)
	require.NotEqual(t, first, other)
	require.Contains(t, first, true)
	require.Contains(t, first, false)
}

func TestFaultsOnAQueuePair(t *testing.T) {
	type ends struct {
		*world
		p, a     *side
		pqp, aqp *sim.QP
		mem      *verbs.Memory
	}
	setup := func(t *testing.T) ends {
		t.Helper()
		w := newWorld(t, sim.Config{})
		p, a := connected(w.loop(w.server), w.loop(w.client))
		mem, err := verbs.Register(p.pd, 64)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, mem.Close()) })
		return ends{w, p, a, w.server.QPs()[0], w.client.QPs()[0], mem}
	}
	t.Run("a receiver that is not ready", func(t *testing.T) {
		e := setup(t)
		e.aqp.ForceRNR(1)
		require.NoError(t, verbs.PostSend(e.p.qp, 1, e.mem, 0, 8))
		require.True(t, e.pqp.Stats().WaitingRNR)
		require.Equal(t, uint64(1), e.net.Census().RNRNaks)
		require.Equal(t, 1, e.pqp.Stats().SendWaiting)
	})
	t.Run("a completion that fails", func(t *testing.T) {
		e := setup(t)
		e.pqp.FailCompletion(1, rdma.WCRemOpErr)
		require.NoError(t, verbs.PostSend(e.p.qp, 1, e.mem, 0, 8))
		require.Equal(t, rdma.WCRemOpErr, verbs.Poll(e.p.cq)[0].Status)
	})
	t.Run("an error after a message", func(t *testing.T) {
		e := setup(t)
		e.pqp.ErrorAfter(1)
		mem, err := verbs.Register(e.a.pd, 64)
		require.NoError(t, err)
		defer func() { require.NoError(t, mem.Close()) }()
		require.NoError(t, verbs.PostRecv(e.a.qp, 1, mem, 0, 64))
		require.NoError(t, verbs.PostSend(e.p.qp, 1, e.mem, 0, 8))
		require.Equal(t, rdma.WCSuccess, verbs.Poll(e.a.cq)[0].Status)
		require.Equal(t, rdma.QPErr, state(t, e.p.qp))
	})
	t.Run("a peer that is cut off", func(t *testing.T) {
		e := setup(t)
		require.False(t, e.pqp.ExceedRetries())
		e.net.Cut(e.server, e.client, true)
		require.NoError(t, verbs.PostSend(e.p.qp, 1, e.mem, 0, 8))
		require.True(t, e.pqp.Stats().WaitingPeer)
		e.net.Cut(e.server, e.client, false)
		require.True(t, e.pqp.Stats().WaitingRNR, "the line heals")
		e.pqp.Cut(true)
		require.True(t, e.pqp.ExceedRetries())
		require.Equal(t, rdma.WCRetryExcErr, verbs.Poll(e.p.cq)[0].Status)
	})
	t.Run("memory that cannot be registered", func(t *testing.T) {
		e := setup(t)
		e.server.FailVerbs("sim0", sim.CallRegMR, 1, 0, syscall.ENOMEM)
		_, err := verbs.Register(e.p.pd, 64)
		require.Equal(t, syscall.ENOMEM, errnoOf(err))
		e.server.FailVerbs("sim0", sim.CallRegMR, 0, 0, 0)
	})
	t.Run("on one that is closed", func(t *testing.T) {
		e := setup(t)
		require.NoError(t, e.p.qp.Close())
		e.pqp.ForceRNR(1)
		require.False(t, e.pqp.ExceedRetries())
		require.Zero(t, e.pqp.Stats())
		require.Empty(t, e.server.QPs())
	})
}

func TestAHostThatLosesPowerSaysNothing(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	p, a := connected(server, client)
	w.server.PowerOff()
	mem, err := verbs.Register(a.pd, 64)
	require.NoError(t, err)
	defer func() { require.NoError(t, mem.Close()) }()
	require.NoError(t, verbs.PostSend(a.qp, 1, mem, 0, 8))
	require.Empty(t, verbs.Poll(a.cq))
	require.True(t, w.client.QPs()[0].ExceedRetries())
	id := client.id()
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second))
	require.Equal(t, -int(syscall.ETIMEDOUT), client.expect(rdma.AddrError).Status)
	_ = p
	server.silent()
}

func TestADeviceIsRemoved(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	wildcard := server.listen("0.0.0.0:2", 1)
	p, a := connected(server, client)
	dev := p.id.Device()
	var once sync.Once
	fatal := make(chan struct{})
	cancel := dev.OnAsyncEvent(func(ev rdma.AsyncEvent) {
		if ev.Type == rdma.EventDeviceFatal {
			once.Do(func() { close(fatal) })
		}
	})
	defer cancel()

	require.True(t, w.server.RemoveDevice("sim0"))
	require.False(t, w.server.RemoveDevice("sim0"))
	for range 2 { // the bound listener and the connection; never an unbound id
		require.NotSame(t, wildcard, server.expect(rdma.DeviceRemoval).ID)
	}
	server.silent()
	<-dev.Removed()
	<-fatal
	client.expect(rdma.Disconnected)
	require.Equal(t, rdma.QPErr, state(t, p.qp))
	_, err := dev.AllocPD()
	require.Equal(t, syscall.EIO, errnoOf(err))
	infos, err := w.server.Devices()
	require.NoError(t, err)
	require.Empty(t, infos)
	_, err = w.server.NewEventChannel()
	require.Equal(t, syscall.ENODEV, errnoOf(err))

	w.server.AddDevice(sim.DeviceConfig{Name: "sim1", Addrs: prefixes("10.0.0.1/24")})
	require.NoError(t, server.id().BindAddr(addr("10.0.0.1:1")), "its port is free")
	_ = a
}

func TestAnAddressChangeIsTold(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server := w.loop(w.server)
	l := server.listen("10.0.0.1:1", 1)
	server.listen("0.0.0.0:2", 1)
	w.server.ChangeAddr("sim0")
	require.Same(t, l, server.expect(rdma.AddrChange).ID)
	server.silent()
}

func TestAHandlerMayCancelItself(t *testing.T) {
	w := newWorld(t, sim.Config{})
	id := w.loop(w.server).id()
	require.NoError(t, id.BindAddr(addr("10.0.0.1:0")))
	called := make(chan struct{})
	cancels := make(chan func(), 1)
	cancels <- id.Device().OnAsyncEvent(func(rdma.AsyncEvent) {
		(<-cancels)()
		close(called)
	})
	w.server.RemoveDevice("sim0")
	<-called
}

func TestOverrunsAreAnnounced(t *testing.T) {
	w := newWorld(t, sim.Config{})
	id := w.loop(w.server).id()
	require.NoError(t, id.BindAddr(addr("10.0.0.1:0")))
	r := newResources(t, id.Device())
	small, err := id.Device().CreateCQ(1, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, small.Close()) }()
	attr := r.attr()
	attr.RecvCQ = small
	qp, err := id.CreateQP(r.pd, attr)
	require.NoError(t, err)
	defer func() { require.NoError(t, qp.Close()) }()
	events := make(chan rdma.AsyncEvent, 8)
	cancel := id.Device().OnAsyncEvent(func(ev rdma.AsyncEvent) { events <- ev })
	defer cancel()
	mem, err := verbs.Register(r.pd, 64)
	require.NoError(t, err)
	defer func() { require.NoError(t, mem.Close()) }()
	for range 2 {
		require.NoError(t, verbs.PostRecv(qp, 1, mem, 0, 64))
	}
	require.NoError(t, qp.SetError())
	ev := <-events
	require.Equal(t, rdma.EventCQErr, ev.Type)
	require.Equal(t, small.Handle(), ev.CQ)
	require.Equal(t, uint64(1), w.net.Census().CQOverruns)
}

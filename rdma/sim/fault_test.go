package sim_test

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
	"catmint/rdma/sim/internal/verbs"
)

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

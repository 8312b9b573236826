package sim_test

import (
	"bytes"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
	"catmint/rdma/sim/internal/verbs"
)

func TestAConnectionIsEstablishedStepByStep(t *testing.T) {
	for _, at := range []string{"10.0.0.1:7174", "[fd00::1]:7174", "[fe80::1%eth0]:7174"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t, sim.Config{})
			server, client := w.loop(w.server), w.loop(w.client)
			listener := server.listen(at, 1)
			to := listener.LocalAddr()
			if to.Addr().Zone() != "" {
				to = netip.AddrPortFrom(to.Addr().WithZone("eth7"), to.Port())
			}

			active := client.resolved(to)
			require.Equal(t, rdma.QPInit, state(t, active.qp))
			require.NoError(t, active.id.Connect(param("hello")))
			client.silent()

			passive, req := server.request()
			require.Same(t, listener, req.Listener)
			require.Len(t, req.PrivateData, rdma.MaxRequestPrivateData)
			require.Equal(t, []byte("hello\x00"), req.PrivateData[:6])
			require.Equal(t, uint8(3), req.ResponderResources, "what the peer wants to have under way")
			require.Equal(t, uint8(4), req.InitiatorDepth)
			require.Equal(t, listener.LocalAddr(), passive.id.LocalAddr())
			require.Equal(t, active.id.LocalAddr().Port(), passive.id.RemoteAddr().Port())

			require.NoError(t, passive.id.Accept(param("welcome")))
			require.Equal(t, rdma.QPRTS, state(t, passive.qp), "at accept")
			require.Equal(t, rdma.QPInit, state(t, active.qp), "until the response is taken")
			server.silent()

			est := client.expect(rdma.Established)
			require.Len(t, est.PrivateData, rdma.MaxReplyPrivateData)
			require.True(t, bytes.HasPrefix(est.PrivateData, []byte("welcome\x00")))
			require.Equal(t, rdma.QPRTS, state(t, active.qp))
			require.Same(t, passive.id, server.expect(rdma.Established).ID)
		})
	}
}

func TestBytesFlowBothWays(t *testing.T) {
	for name, cfg := range map[string]sim.Config{
		"at once": {}, "spread at random": {SeededDelivery: true, Seed: 7},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cfg)
			passive, active := connected(w.loop(w.server), w.loop(w.client))
			send := func(from, to *side, text string) {
				src, err := verbs.Register(from.pd, 64)
				require.NoError(t, err)
				defer func() { require.NoError(t, src.Close()) }()
				dst, err := verbs.Register(to.pd, 64)
				require.NoError(t, err)
				defer func() { require.NoError(t, dst.Close()) }()
				copy(src.Bytes(), text)
				require.NoError(t, verbs.PostRecv(to.qp, 1, dst, 0, 64))
				require.NoError(t, verbs.PostSend(from.qp, 2, src, 0, len(text)))
				w.net.Deliver()
				got := verbs.Poll(to.cq)
				require.Equal(t, []verbs.Completion{
					{WRID: 1, Status: rdma.WCSuccess, Bytes: len(text), QPNum: to.qp.Num()},
				}, got)
				require.Equal(t, text, string(dst.Bytes()[:len(text)]))
				require.Len(t, verbs.Poll(from.cq), 1)
			}
			send(active, passive, "ping")
			send(passive, active, "pong")
		})
	}
}

func TestNobodyListeningRefuses(t *testing.T) {
	w := newWorld(t, sim.Config{})
	client := w.loop(w.client)
	s := client.resolved(addr("10.0.0.1:9"))
	require.NoError(t, s.id.Connect(param("")))
	ev := client.expect(rdma.Rejected)
	require.Equal(t, int(rdma.RejectInvalidServiceID), ev.Status)
	require.Equal(t, rdma.QPErr, state(t, s.qp))
}

func TestTheApplicationRefusesWithItsReason(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	l := server.listen("0.0.0.0:0", 1)
	s2 := client.resolved(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), l.LocalAddr().Port()))
	require.NoError(t, s2.id.Connect(param("")))
	p, _ := server.request()
	require.Equal(t, syscall.EINVAL, errnoOf(p.id.Reject(make([]byte, 149))))
	require.NoError(t, p.id.Reject([]byte("full")))
	ev := client.expect(rdma.Rejected)
	require.Equal(t, int(rdma.RejectConsumerDefined), ev.Status)
	require.Len(t, ev.PrivateData, rdma.MaxRejectPrivateData)
	require.Equal(t, "full\x00", string(ev.PrivateData[:5]))
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

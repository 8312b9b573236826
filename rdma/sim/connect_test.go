package sim_test

import (
	"bytes"
	"net/netip"
	"syscall"
	"testing"

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

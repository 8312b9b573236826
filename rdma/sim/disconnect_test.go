package sim_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
)

func TestDisconnectHasTwoSides(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	p, a := connected(server, client)

	require.NoError(t, a.id.Disconnect())
	require.Equal(t, rdma.QPErr, state(t, a.qp))
	require.Same(t, p.id, server.expect(rdma.Disconnected).ID)
	require.Equal(t, rdma.QPRTS, state(t, p.qp), "the other side does its own")
	client.silent()

	require.NoError(t, p.id.Disconnect())
	require.Equal(t, rdma.QPErr, state(t, p.qp))
	client.expect(rdma.Disconnected)
	server.silent()
	require.NoError(t, p.id.Disconnect(), "again is no error")

	w.net.Advance(sim.TimewaitPeriod)
	client.expect(rdma.TimewaitExit)
	server.expect(rdma.TimewaitExit)
}

func TestBothSidesMayDisconnectAtOnce(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	p, a := connected(server, client)
	crossing := w.net.When(sim.Message(sim.DREQ)).At(w.client).Hold()
	require.NoError(t, a.id.Disconnect())
	require.NoError(t, p.id.Disconnect())
	client.expect(rdma.Disconnected)
	crossing.Release()
	server.expect(rdma.Disconnected)
	require.NoError(t, a.id.Disconnect())
	require.NoError(t, p.id.Disconnect())
	client.silent()
	server.silent()
}

func TestDestroyingAConnectedIDDisconnectsThePeer(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	p, a := connected(server, client)
	require.NoError(t, a.qp.Close())
	require.NoError(t, a.id.Close())
	server.expect(rdma.Disconnected)
	require.NoError(t, p.id.Disconnect())
	require.Equal(t, syscall.EBADF, errnoOf(a.id.Disconnect()))
}

func TestALostDisconnectIsSentAgain(t *testing.T) {
	for _, lost := range []sim.MessageType{sim.DREQ, sim.DREP} {
		w := newWorld(t, sim.Config{})
		server, client := w.loop(w.server), w.loop(w.client)
		p, a := connected(server, client)
		w.net.When(sim.Message(lost)).Drop()
		require.NoError(t, a.id.Disconnect())
		if lost == sim.DREQ {
			server.silent()
			w.net.Advance(sim.ResponseTimeout)
		}
		server.expect(rdma.Disconnected)
		require.NoError(t, p.id.Disconnect())
		if lost == sim.DREP {
			client.silent()
			w.net.Advance(sim.ResponseTimeout)
		}
		client.expect(rdma.Disconnected)
	}
}

func TestAnUnansweredDisconnectEndsByItself(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	_, a := connected(server, client)
	w.server.PowerOff()
	require.NoError(t, a.id.Disconnect())
	w.net.Advance(sim.MaxRetries * sim.ResponseTimeout)
	client.silent()
	w.net.Advance(sim.ResponseTimeout)
	require.Equal(t, -int(syscall.ETIMEDOUT), client.expect(rdma.Disconnected).Status)
	server.silent()
}

func TestDisconnectedMayComeBeforeEstablished(t *testing.T) {
	t.Run("because the RTU is late", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		server, client := w.loop(w.server), w.loop(w.client)
		server.listen("10.0.0.1:1", 1)
		a := client.resolved(addr("10.0.0.1:1"))
		rtu := w.net.When(sim.Message(sim.RTU)).Hold()
		require.NoError(t, a.id.Connect(param("")))
		p, _ := server.request()
		require.NoError(t, p.id.Accept(param("")))
		client.expect(rdma.Established)
		require.NoError(t, a.id.Disconnect())
		server.expect(rdma.Disconnected)
		rtu.Release()
		server.silent()
	})
	t.Run("because the events change places", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		server, client := w.loop(w.server), w.loop(w.client)
		server.listen("10.0.0.1:1", 1)
		a := client.resolved(addr("10.0.0.1:1"))
		w.net.When(sim.Event(rdma.Established)).At(w.server).Swap()
		require.NoError(t, a.id.Connect(param("")))
		p, _ := server.request()
		require.NoError(t, p.id.Accept(param("")))
		client.expect(rdma.Established)
		server.silent()
		require.NoError(t, a.id.Disconnect())
		server.expect(rdma.Disconnected)
		server.expect(rdma.Established)
	})
}

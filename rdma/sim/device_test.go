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

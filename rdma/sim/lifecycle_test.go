package sim_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
	"catmint/rdma/sim/internal/verbs"
)

func TestMain(m *testing.M) { rdmatest.Main(m) }

func TestTheWrongOrderOfClosingIsBusy(t *testing.T) {
	n := sim.New(sim.Config{})
	h := n.AddHost("h", sim.DeviceConfig{Name: "sim0", Addrs: prefixes("10.0.0.1/24")})
	ch, err := h.NewEventChannel()
	require.NoError(t, err)
	id, err := ch.CreateID()
	require.NoError(t, err)
	require.NoError(t, id.BindAddr(addr("10.0.0.1:0")))
	dev := id.Device()
	pd, err := dev.AllocPD()
	require.NoError(t, err)
	cc, err := dev.NewCompletionChannel()
	require.NoError(t, err)
	cq, err := dev.CreateCQ(10, cc)
	require.NoError(t, err)
	require.Equal(t, 15, cq.Depth())
	qp, err := id.CreateQP(pd, rdma.QPInitAttr{SendCQ: cq, RecvCQ: cq})
	require.NoError(t, err)
	mem, err := verbs.Register(pd, 64)
	require.NoError(t, err)
	require.NoError(t, verbs.PostRecv(qp, 1, mem, 0, 64))

	closers := []struct {
		name  string
		close func() error
	}{
		{"queue pair", qp.Close},
		{"memory region", mem.Close},
		{"id", id.Close},
		{"event channel", ch.Close},
		{"CQ", cq.Close},
		{"completion channel", cc.Close},
		{"PD", pd.Close},
		{"network", n.Close},
	}
	for _, c := range closers[2:] {
		err := c.close()
		require.Error(t, err, c.name)
		if c.name == "network" {
			require.ErrorIs(t, err, sim.ErrAlive)
			require.ErrorContains(t, err, "QPs 1")
			continue
		}
		require.Equal(t, syscall.EBUSY, errnoOf(err), c.name)
	}
	c := n.Census()
	require.False(t, c.Empty())
	require.Equal(t, []int{1, 1, 1, 1, 1, 1, 1},
		[]int{c.EventChannels, c.IDs, c.Channels, c.PDs, c.MRs, c.CQs, c.QPs})
	for _, c := range closers {
		require.NoError(t, c.close(), c.name)
		if c.name != "memory region" {
			require.NoError(t, c.close(), "%s again", c.name)
		}
	}

	_, err = qp.State()
	require.Equal(t, syscall.EBADF, errnoOf(err))
	require.Equal(t, syscall.EBADF, errnoOf(qp.SetError()))
	require.Equal(t, syscall.EBADF, errnoOf(qp.SetMinRNRTimer(12)))
	require.Equal(t, syscall.EBADF, errnoOf(id.BindAddr(addr("10.0.0.1:0"))))
	require.Equal(t, syscall.EBADF, errnoOf(id.SetTOS(0)))
	_, _, err = ch.GetEvent()
	require.Equal(t, syscall.EBADF, errnoOf(err))
	_, err = ch.CreateID()
	require.Equal(t, syscall.EBADF, errnoOf(err))
}

func TestObjectsOfAnotherDeviceAreInvalid(t *testing.T) {
	w := newWorld(t, sim.Config{})
	a, b := w.loop(w.server).id(), w.loop(w.client).id()
	require.NoError(t, a.BindAddr(addr("10.0.0.1:0")))
	require.NoError(t, b.BindAddr(addr("10.0.0.2:0")))
	ra, rb := newResources(t, a.Device()), newResources(t, b.Device())
	_, err := a.CreateQP(rb.pd, ra.attr())
	require.Equal(t, syscall.EINVAL, errnoOf(err))
	_, err = a.CreateQP(ra.pd, rb.attr())
	require.Equal(t, syscall.EINVAL, errnoOf(err))
	_, err = a.Device().CreateCQ(1, rb.ch)
	require.Equal(t, syscall.EINVAL, errnoOf(err))
	_, err = a.Device().CreateCQ(1<<20, nil)
	require.Equal(t, syscall.EINVAL, errnoOf(err))
	attr := ra.attr()
	attr.Caps.MaxInlineData = 4096
	_, err = a.CreateQP(ra.pd, attr)
	require.Equal(t, syscall.EINVAL, errnoOf(err))
}

func TestQueuePairsRunOut(t *testing.T) {
	n := sim.New(sim.Config{})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	h := n.AddHost("h", sim.DeviceConfig{Name: "sim0", Addrs: prefixes("10.0.0.1/24"), MaxQP: 1})
	w := &world{t: t, net: n}
	l := w.loop(h)
	first, second := l.id(), l.id()
	require.NoError(t, first.BindAddr(addr("10.0.0.1:0")))
	require.NoError(t, second.BindAddr(addr("10.0.0.1:0")))
	s := l.side(first)
	_, err := second.CreateQP(s.pd, s.attr())
	require.Equal(t, syscall.ENOMEM, errnoOf(err))
}

func TestTwoHostsCannotHaveOneAddress(t *testing.T) {
	w := newWorld(t, sim.Config{})
	require.Panics(t, func() {
		w.net.AddHost("thief", sim.DeviceConfig{Name: "sim0", Addrs: prefixes("10.0.0.1/8")})
	})
}

func TestAHostConnectsToItself(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.server)
	l.listen("10.0.0.1:1", 1)
	a := l.resolved(addr("10.0.0.1:1"))
	require.NoError(t, a.id.Connect(param("")))
	p, _ := l.request()
	require.NoError(t, p.id.Accept(param("")))
	require.Same(t, a.id, l.expect(rdma.Established).ID)
	require.Same(t, p.id, l.expect(rdma.Established).ID)
}

// echo accepts what comes on a loop until as many connections have come and gone.
func echo(t *testing.T, l *loop, r *resources, total int) {
	t.Helper()
	type conn struct {
		id rdma.ID
		qp rdma.QP
	}
	conns := map[rdma.ID]conn{}
	for gone := 0; gone < total; {
		ev := l.next()
		switch ev.Type {
		case rdma.ConnectRequest:
			qp, err := ev.ID.CreateQP(r.pd, r.attr())
			if !assert.NoError(t, err) {
				return
			}
			conns[ev.ID] = conn{ev.ID, qp}
			assert.NoError(t, ev.ID.Accept(param("")))
		case rdma.Disconnected:
			c := conns[ev.ID]
			assert.NoError(t, c.id.Disconnect())
			assert.NoError(t, c.qp.Close())
			assert.NoError(t, c.id.Close())
			gone++
		default:
		}
	}
}

func TestAThousandConnectionsLeaveNothingBehind(t *testing.T) {
	const cycles = 1000
	before := rdmatest.FDs(t)
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	l := server.listen("10.0.0.1:1", 16)
	serverResources := newResources(t, l.Device())
	bound := client.id()
	require.NoError(t, bound.BindAddr(addr("10.0.0.2:0")))
	r := newResources(t, bound.Device())
	start := w.net.Census()
	var done sync.WaitGroup
	done.Go(func() { echo(t, server, serverResources, cycles) })
	for range cycles {
		id, err := client.ch.CreateID()
		require.NoError(t, err)
		require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second))
		client.expect(rdma.AddrResolved)
		require.NoError(t, id.ResolveRoute(time.Second))
		client.expect(rdma.RouteResolved)
		qp, err := id.CreateQP(r.pd, r.attr())
		require.NoError(t, err)
		require.NoError(t, id.Connect(param("")))
		client.expect(rdma.Established)
		require.NoError(t, id.Disconnect())
		client.expect(rdma.Disconnected)
		require.NoError(t, qp.Close())
		require.NoError(t, id.Close())
	}
	done.Wait()
	end := w.net.Census()
	require.Equal(t, start, end)
	_, pending := w.net.NextTimer()
	require.False(t, pending)
	require.InDelta(t, before, rdmatest.FDs(t), 6, "file descriptors")
}

// comeAndGo connects to the server and disconnects.
func comeAndGo(client *loop) error {
	id, err := client.ch.CreateID()
	if err != nil {
		return err
	}
	step := func(err error, want rdma.CMEvent) error {
		if err != nil {
			return err
		}
		if ev := client.next(); ev.Type != want {
			return fmt.Errorf("%v instead of %v, status %d", ev.Type, want, ev.Status)
		}
		return nil
	}
	if err := step(id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second), rdma.AddrResolved); err != nil {
		return err
	}
	if err := step(id.ResolveRoute(time.Second), rdma.RouteResolved); err != nil {
		return err
	}
	pd, errPD := id.Device().AllocPD()
	cq, errCQ := id.Device().CreateCQ(64, nil)
	if err := errors.Join(errPD, errCQ); err != nil {
		return err
	}
	qp, err := id.CreateQP(pd, rdma.QPInitAttr{SendCQ: cq, RecvCQ: cq})
	if err != nil {
		return err
	}
	if err := step(id.Connect(param("")), rdma.Established); err != nil {
		return err
	}
	if err := step(id.Disconnect(), rdma.Disconnected); err != nil {
		return err
	}
	return errors.Join(qp.Close(), id.Close(), cq.Close(), pd.Close())
}

func TestAHundredClientsConnectAtOnce(t *testing.T) {
	const clients = 100
	for name, cfg := range map[string]sim.Config{
		"undisturbed":                   {},
		"with late messages and events": {RealTime: true, Seed: 5},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cfg)
			if cfg.RealTime {
				w.net.When(sim.Message(sim.REQ)).Always().Chance(0.3).Delay(time.Millisecond)
				w.net.When(sim.Message(sim.REP)).Always().Chance(0.3).Delay(2 * time.Millisecond)
				w.net.When(sim.Event(rdma.AddrResolved)).Always().Chance(0.3).Delay(time.Millisecond)
			}
			server := w.loop(w.server)
			l := server.listen("10.0.0.1:1", 1024)
			serverResources := newResources(t, l.Device())
			var done sync.WaitGroup
			done.Go(func() { echo(t, server, serverResources, clients) })
			for range clients {
				client := w.loop(w.client)
				done.Go(func() {
					assert.NoError(t, comeAndGo(client))
				})
			}
			done.Wait()
		})
	}
}

func TestCompletionsWakeASleeper(t *testing.T) {
	for name, cfg := range map[string]sim.Config{
		"at once": {}, "spread at random": {SeededDelivery: true, Seed: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, cfg)
			p, a := connected(w.loop(w.server), w.loop(w.client))
			src, err := verbs.Register(a.pd, 64)
			require.NoError(t, err)
			defer func() { require.NoError(t, src.Close()) }()
			dst, err := verbs.Register(p.pd, 64)
			require.NoError(t, err)
			defer func() { require.NoError(t, dst.Close()) }()
			require.NoError(t, verbs.PostRecv(p.qp, 1, dst, 0, 64))
			require.NoError(t, verbs.Notify(p.cq))
			require.Equal(t, syscall.EAGAIN, verbs.TakeEvent(p.resources.ch))
			require.NoError(t, verbs.PostSend(a.qp, 2, src, 0, 8))
			w.net.Deliver()

			fd, err := syscall.Dup(p.resources.ch.Fd())
			require.NoError(t, err)
			f := os.NewFile(uintptr(fd), "completion channel")
			defer func() { require.NoError(t, f.Close()) }()
			raw, err := f.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, raw.Read(func(uintptr) bool {
				return verbs.TakeEvent(p.resources.ch) == nil
			}))
			require.NotEmpty(t, verbs.Poll(p.cq))
		})
	}
}

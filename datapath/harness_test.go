package datapath_test

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma"
	"catmint/rdma/sim"
)

const patience = 30 * time.Second // how long a test waits for what must come

// TestMain ends the run when something is left alive.
func TestMain(m *testing.M) {
	code := m.Run()
	c := datapath.TakeCensus()
	c.ArenaBytes = 0 // empty chunks are kept
	if c != (datapath.Census{}) && code == 0 {
		fmt.Fprintf(os.Stderr, "left alive: %+v\n", c)
		code = 1
	}
	os.Exit(code)
}

func newEngine(t *testing.T) *datapath.Engine {
	t.Helper()
	e, err := datapath.NewEngine(datapath.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Destroy()) })
	return e
}

func newQD(t *testing.T, e *datapath.Engine) int32 {
	t.Helper()
	qd, err := datapath.AllocQD(e)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, datapath.FreeQD(qd)) })
	return qd
}

// side is one end of a connection on the simulated fabric.
type side struct {
	e      *datapath.Engine
	qd     int32
	qp     rdma.QP
	conn   *datapath.Conn
	fd     int // of the completion channel
	limits datapath.ConnLimits
}

func next(t *testing.T, ch rdma.EventChannel, want rdma.CMEvent) rdma.Event {
	t.Helper()
	late := time.After(patience)
	for {
		ev, ok, err := ch.GetEvent()
		require.NoError(t, err)
		if ok {
			require.Equal(t, want, ev.Type)
			return ev
		}
		select {
		case <-ch.Readable():
		case <-late:
			require.FailNow(t, "no event came", "%v", want)
		}
	}
}

// newSide makes what an id needs for a connection: the queue pair and the data plane's half.
func newSide(t *testing.T, h *sim.Host, id rdma.ID) *side {
	t.Helper()
	s := &side{e: newEngine(t)}
	dev := id.Device()
	pd, err := dev.AllocPD()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pd.Close()) })
	ch, err := dev.NewCompletionChannel()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ch.Close()) })
	s.fd = ch.Fd()
	cq, err := dev.CreateCQ(255, ch)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cq.Close()) })
	s.limits = datapath.ConnLimits{RecvSize: 1024, DataWindow: 4, CtrlWindow: 4, MaxMessage: 1008}
	s.qp, err = id.CreateQP(pd, rdma.QPInitAttr{SendCQ: cq, RecvCQ: cq, Caps: rdma.QPCaps{
		MaxSendWR: 31, MaxRecvWR: 8, MaxSendSGE: 2, MaxRecvSGE: 1, MaxInlineData: 128,
	}})
	require.NoError(t, err)
	d, err := datapath.AddDevice(pd.Handle(), h.SlowOps(), datapath.DeviceAttr{MaxInline: 128, MaxSGE: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Remove()) })
	require.Nil(t, s.e.FindCQ(d, 1, false))
	dcq, err := s.e.AddCQ(d, cq.Handle(), ch.Handle(), cq.Depth())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dcq.Remove()) })
	require.True(t, s.e.FindCQ(d, cq.Depth(), true).Is(dcq))
	s.conn, err = datapath.NewConn(datapath.ConnParams{
		Engine: s.e, Device: d, CQ: dcq, QP: s.qp.Handle(), SendDepth: 31, RecvDepth: 8,
		MaxInline: 128, Local: s.limits, Cookie: 42,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.conn.Disconnected(0))
		require.NoError(t, s.qp.Close())
		require.NoError(t, s.conn.QPDestroyed())
		require.NoError(t, s.conn.Destroy())
		s.sweep(t)
	})
	s.qd = newQD(t, s.e)
	return s
}

// sweep redeems what is left, freeing what came with it.
func (s *side) sweep(t *testing.T) {
	t.Helper()
	rs := make([]datapath.Result, 1)
	for {
		_, err := datapath.WaitNextN(s.e, rs, 0)
		if err != nil {
			return
		}
		if rs[0].Opcode == datapath.OpPop {
			sga := rs[0].SGA()
			require.NoError(t, datapath.SGAFree(&sga))
		}
	}
}

// connected makes two sides and connects them through the simulated connection manager.
func connected(t *testing.T) (a, b *side) {
	t.Helper()
	n := sim.New(sim.Config{})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	host := func(name, addr string) (*sim.Host, rdma.EventChannel) {
		h := n.AddHost(name, sim.DeviceConfig{Name: "sim0", Netdev: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}})
		ch, err := h.NewEventChannel()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, ch.Close()) })
		return h, ch
	}
	newID := func(ch rdma.EventChannel) rdma.ID {
		id, err := ch.CreateID()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, id.Close()) })
		return id
	}
	ha, cha := host("a", "10.0.0.1/24")
	hb, chb := host("b", "10.0.0.2/24")
	l := newID(chb)
	require.NoError(t, l.BindAddr(netip.MustParseAddrPort("10.0.0.2:7174")))
	require.NoError(t, l.Listen(4))
	id := newID(cha)
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, l.LocalAddr(), time.Second))
	next(t, cha, rdma.AddrResolved)
	require.NoError(t, id.ResolveRoute(time.Second))
	next(t, cha, rdma.RouteResolved)
	a = newSide(t, ha, id)
	param := rdma.ConnParam{RetryCount: 6, RNRRetryCount: 7}
	require.NoError(t, id.Connect(param))
	passive := next(t, chb, rdma.ConnectRequest).ID
	t.Cleanup(func() { require.NoError(t, passive.Close()) })
	b = newSide(t, hb, passive)
	require.NoError(t, passive.Accept(param))
	next(t, cha, rdma.Established)
	next(t, chb, rdma.Established)
	require.NoError(t, a.conn.SetPeer(id.RemoteAddr()))
	require.NoError(t, a.conn.Establish(a.qd, b.limits))
	require.NoError(t, b.conn.Establish(b.qd, a.limits))
	return a, b
}

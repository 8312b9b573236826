package datapath

// #include "datapath.h"
// #cgo noescape dp_conn_establish
// #cgo nocallback dp_conn_establish
// #cgo noescape dp_conn_set_peer
// #cgo nocallback dp_conn_set_peer
// #cgo noescape dp_conn_create
// #cgo nocallback dp_conn_create
import "C"

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// ConnLimits is what a side announces in the hello.
type ConnLimits struct {
	RecvSize   uint32 // bytes of one receive, frame header included
	DataWindow uint32 // receives for DATA and RTS
	CtrlWindow uint32 // receives for control frames
	MaxMessage uint64 // bytes of the largest message taken, at most 1 GiB
	// Reads is how many RDMA READs it answers at once, as agreed on by CM; of the peer,
	// our initiator depth. Not in the hello.
	Reads uint32
}

func (l ConnLimits) c() C.struct_dp_conn_limits {
	return C.struct_dp_conn_limits{
		recv_size:   C.uint32_t(l.RecvSize),
		data_window: C.uint32_t(l.DataWindow),
		ctrl_window: C.uint32_t(l.CtrlWindow),
		max_message: C.uint64_t(l.MaxMessage),
		reads:       C.uint32_t(l.Reads),
	}
}

// ConnParams is what NewConn needs.
type ConnParams struct {
	Engine    *Engine
	Device    *Device
	CQ        *CQ
	QP        unsafe.Pointer // struct ibv_qp *, in INIT or later
	QPX       unsafe.Pointer // struct ibv_qp_ex * of it, with IBV_QP_EX_WITH_SEND, or nil
	SendDepth uint32         // send-queue entries granted
	RecvDepth uint32         // receive-queue entries granted
	MaxInline uint32         // bytes granted
	Local     ConnLimits
	// MaxDataWindow is to what Local.DataWindow may grow with traffic, within RecvDepth.
	MaxDataWindow uint32
	Cookie        uint64 // comes back in notices
}

// Conn is a connection's data plane: a queue pair and its credits.
type Conn struct {
	c *C.struct_dp_conn
}

// NewConn makes a connection and posts every receive buffer, before rdma_connect or
// rdma_accept is called. ENOMEM: locked memory; EAGAIN: CQ budget; EINVAL: depths or limits
// that cannot work.
func NewConn(p ConnParams) (*Conn, error) {
	cp := C.struct_dp_conn_params{
		engine:     p.Engine.c,
		device:     p.Device.c,
		cq:         p.CQ.c,
		qp:         (*C.struct_ibv_qp)(p.QP),
		qpx:        (*C.struct_ibv_qp_ex)(p.QPX),
		send_depth: C.uint32_t(p.SendDepth),
		recv_depth: C.uint32_t(p.RecvDepth),
		max_inline: C.uint32_t(p.MaxInline),
		local:      p.Local.c(),

		max_data_window: C.uint32_t(p.MaxDataWindow),
		cookie:          C.uint64_t(p.Cookie),
	}
	var c *C.struct_dp_conn
	if err := errnoErr(C.dp_conn_create(&cp, &c)); err != nil {
		return nil, err
	}
	return &Conn{c: c}, nil
}

// Establish says that the queue pair is in RTS and ties the connection to qd, whose state
// becomes QDConnected.
func (c *Conn) Establish(qd int32, peer ConnLimits) error {
	l := peer.c()
	return errnoErr(C.dp_conn_establish(c.c, C.int32_t(qd), &l))
}

// SetPeer sets the peer's address: what pops report in their SGArray's Addr.
func (c *Conn) SetPeer(addr netip.AddrPort) error {
	var ss [C.sizeof_struct_sockaddr_in6]byte
	n := C.socklen_t(C.sizeof_struct_sockaddr_in)
	binary.BigEndian.PutUint16(ss[2:], addr.Port())
	if ip := addr.Addr().Unmap(); ip.Is4() {
		binary.NativeEndian.PutUint16(ss[:], syscall.AF_INET)
		a := ip.As4()
		copy(ss[4:], a[:])
	} else {
		binary.NativeEndian.PutUint16(ss[:], syscall.AF_INET6)
		a := ip.As16()
		copy(ss[8:], a[:])
		n = C.sizeof_struct_sockaddr_in6
	}
	return errnoErr(C.dp_conn_set_peer(c.c, (*C.struct_sockaddr)(unsafe.Pointer(&ss)), n))
}

// Close sends FIN behind what has been pushed, half (we still read) or full. NoticeDrained
// follows.
func (c *Conn) Close(full bool) error { return errnoErr(C.dp_conn_close(c.c, C.bool(full))) }

// Fail ends everything outstanding with errno; complete messages that arrived are
// delivered first. NoticeFlushed follows when posted work is accounted for.
func (c *Conn) Fail(errno syscall.Errno) error {
	return errnoErr(C.dp_conn_fail(c.c, C.int(errno)))
}

// Disconnected says that the connection is over: everything outstanding ends with errno, or if
// that is 0 as FIN and FIN_ACK say: orderly, or with ECONNRESET. NoticeFlushed follows when
// posted work is accounted for.
func (c *Conn) Disconnected(errno syscall.Errno) error {
	return errnoErr(C.dp_conn_disconnected(c.c, C.int(errno)))
}

// QPDestroyed says that the queue pair is no more: its completions in the CQ are taken,
// the rest counts as flushed, and what is outstanding ends. Messages that arrived can still
// be popped.
func (c *Conn) QPDestroyed() error { return errnoErr(C.dp_conn_qp_destroyed(c.c)) }

// CancelPops ends pending pops with ECANCELED; pushes go on draining.
func (c *Conn) CancelPops() error { return errnoErr(C.dp_conn_cancel_pops(c.c)) }

// CancelPushes ends pending pushes with ECANCELED: the linger time is over.
func (c *Conn) CancelPushes() error { return errnoErr(C.dp_conn_cancel_pushes(c.c)) }

// KeepAlive sets how long the peer may be silent: after idle it is asked by PING, before limit
// it counts as dead, which breaks the connection with ETIMEDOUT (NoticeBroken). limit 0: silent
// for ever. tick is how often Engine.Tick must be called from now on, 0 for never. EINVAL: idle
// is 0 or not below limit.
func (c *Conn) KeepAlive(idle, limit time.Duration) (tick time.Duration, err error) {
	var ns C.uint64_t
	err = errnoErr(C.dp_conn_keepalive(c.c, C.uint64_t(idle), C.uint64_t(limit), &ns))
	return time.Duration(ns), err
}

// Destroy forgets the connection; its queue pair must have been destroyed or be flushed
// (EBUSY otherwise). c must not be used afterwards.
func (c *Conn) Destroy() error { return errnoErr(C.dp_conn_destroy(c.c)) }

// Progress is a number that changes as the peer takes messages of ours, or reads on in a large
// one: who waits for a close sees by it whether waiting is worth while.
func (c *Conn) Progress() uint64 { return uint64(C.dp_conn_progress(c.c)) }

// ConnStats counts what a connection did. Bytes are those of messages, without frame headers;
// CreditsOut and CreditsIn are bare CREDIT frames: any frame carries credits.
type ConnStats struct {
	Pushes, Pops, BytesOut, BytesIn              uint64
	FramesOut, FramesIn, CreditsOut, CreditsIn   uint64
	PostSends, PostRecvs, RNREvents, InlineSends uint64
	WRSends                                      uint64 // of PostSends: by ibv_wr_start(3), with a message each
	LargeOut, LargeIn, Reads                     uint64 // messages by RTS; READs posted
	PingsOut, PingsIn                            uint64
	Window                                       uint64 // receives that the peer may fill with messages, now
	// WindowGrown is how often the window has grown, the others how often it did not, or by
	// less than it should, because the CQ's budget was spent or there was no memory.
	WindowGrown, WindowNoBudget, WindowNoMemory uint64
	// As it is now: messages that nobody has popped, and how many more messages the peer
	// has receives for. Of a connection that is gone, 0.
	Waiting, Credit uint64
}

// Add adds the counts of another connection, and what it has now.
func (s *ConnStats) Add(o ConnStats) {
	s.AddCounts(o)
	s.Waiting += o.Waiting
	s.Credit += o.Credit
	s.Window += o.Window
}

// AddCounts adds the counts of a connection that is no more.
func (s *ConnStats) AddCounts(o ConnStats) {
	s.Pushes += o.Pushes
	s.Pops += o.Pops
	s.BytesOut += o.BytesOut
	s.BytesIn += o.BytesIn
	s.FramesOut += o.FramesOut
	s.FramesIn += o.FramesIn
	s.CreditsOut += o.CreditsOut
	s.CreditsIn += o.CreditsIn
	s.PostSends += o.PostSends
	s.PostRecvs += o.PostRecvs
	s.RNREvents += o.RNREvents
	s.InlineSends += o.InlineSends
	s.WRSends += o.WRSends
	s.LargeOut += o.LargeOut
	s.LargeIn += o.LargeIn
	s.Reads += o.Reads
	s.PingsOut += o.PingsOut
	s.PingsIn += o.PingsIn
	s.WindowGrown += o.WindowGrown
	s.WindowNoBudget += o.WindowNoBudget
	s.WindowNoMemory += o.WindowNoMemory
}

// Stats returns the connection's counters.
func (c *Conn) Stats() (ConnStats, error) {
	var s C.struct_dp_conn_stats
	if err := errnoErr(C.dp_conn_stats(c.c, &s)); err != nil {
		return ConnStats{}, err
	}
	return ConnStats{
		Pushes: uint64(s.pushes), Pops: uint64(s.pops),
		BytesOut: uint64(s.bytes_out), BytesIn: uint64(s.bytes_in),
		FramesOut: uint64(s.frames_out), FramesIn: uint64(s.frames_in),
		CreditsOut: uint64(s.credits_out), CreditsIn: uint64(s.credits_in),
		PostSends: uint64(s.post_sends), PostRecvs: uint64(s.post_recvs),
		RNREvents: uint64(s.rnr_events), InlineSends: uint64(s.inline_sends),
		WRSends:  uint64(s.wr_sends),
		LargeOut: uint64(s.large_out), LargeIn: uint64(s.large_in), Reads: uint64(s.reads),
		PingsOut: uint64(s.pings_out), PingsIn: uint64(s.pings_in),
		Window: uint64(s.window), WindowGrown: uint64(s.window_grown),
		WindowNoBudget: uint64(s.window_no_budget), WindowNoMemory: uint64(s.window_no_memory),
		Waiting: uint64(s.waiting), Credit: uint64(s.credit),
	}, nil
}

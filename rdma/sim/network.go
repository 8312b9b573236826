package sim

// #cgo CFLAGS: -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror
// #include "sim.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"catmint/rdma"
)

// Config says how a network behaves. The zero Config is deterministic: data arrives as it
// is posted and time stands still.
type Config struct {
	// Seed of everything random.
	Seed uint64
	// SeededDelivery spreads the effects of posted work over later polls, at random; see
	// SIM_DELIVER_SEEDED in sim.h.
	SeededDelivery bool
	// RealTime lets the clock run; otherwise Advance moves it.
	RealTime bool
	// RetryPolls is the number of polls after which work whose peer does not answer fails
	// with RETRY_EXC_ERR; 0 is never.
	RetryPolls uint32
	// NoLateRecvFlush imitates rxe of Linux 6.1: receives posted in the error state are
	// never flushed.
	NoLateRecvFlush bool
	// PurgeCQOnDestroy imitates mlx5: destroying a queue pair takes its completions out of
	// the CQ.
	PurgeCQOnDestroy bool
}

// Network is a set of hosts that reach each other. Its methods may be called from any
// goroutine.
type Network struct {
	cfg    Config
	fabric *C.struct_sim_fabric
	clock  clock

	// mu guards everything of the connection manager, on all hosts. C calls are made with
	// it held; the C half has a lock of its own and never calls back.
	mu     sync.Mutex
	closed bool
	hosts  []*Host
	rules  []*Fault
	cuts   map[[2]*Host]bool
	ids    int
	idSeq  int
	chans  int
}

// New makes a network without hosts.
func New(cfg Config) *Network {
	n := &Network{cfg: cfg, cuts: make(map[[2]*Host]bool)}
	n.clock.realTime = cfg.RealTime
	c := C.struct_sim_config{
		seed:                C.uint64_t(cfg.Seed),
		threads:             true,
		retry_polls:         C.uint32_t(cfg.RetryPolls),
		no_late_recv_flush:  C.bool(cfg.NoLateRecvFlush),
		purge_cq_on_destroy: C.bool(cfg.PurgeCQOnDestroy),
	}
	if cfg.SeededDelivery {
		c.delivery = C.SIM_DELIVER_SEEDED
	}
	if errno := C.sim_fabric_create(&c, &n.fabric); errno != 0 {
		panic(fmt.Sprintf("sim: cannot make a fabric: %v", syscall.Errno(errno)))
	}
	return n
}

// Advance moves the clock and runs what falls due, in order, before it returns. It does
// nothing with Config.RealTime.
func (n *Network) Advance(d time.Duration) {
	if !n.cfg.RealTime {
		n.clock.advance(d)
	}
}

// NextTimer says how long it is until something falls due by the network's clock; false
// when nothing will.
func (n *Network) NextTimer() (time.Duration, bool) { return n.clock.next() }

// Deliver carries out all posted work that can be; needed with SeededDelivery only.
func (n *Network) Deliver() { C.sim_fabric_drain(n.fabric) }

// Census is what is alive in a network, and what happened in it.
type Census struct {
	EventChannels, IDs               int
	Channels, PDs, MRs, CQs, QPs     int //nolint:staticcheck // QPs is the plural of QP
	MRBytes                          uint64
	UnackedEvents                    uint64
	CQOverruns, RNRNaks              uint64
	PostSends, SendWRs               uint64
	PostRecvs, RecvWRs, PayloadBytes uint64
}

// Empty reports whether nothing is alive.
func (c Census) Empty() bool {
	return c.EventChannels == 0 && c.IDs == 0 && c.Channels == 0 && c.PDs == 0 && c.MRs == 0 &&
		c.CQs == 0 && c.QPs == 0 && c.UnackedEvents == 0
}

// String lists what is alive.
func (c Census) String() string {
	return fmt.Sprintf("event channels %d, ids %d, completion channels %d, PDs %d, MRs %d (%d bytes), "+
		"CQs %d, QPs %d, unacknowledged CQ events %d; CQ overruns %d, RNR NAKs %d",
		c.EventChannels, c.IDs, c.Channels, c.PDs, c.MRs, c.MRBytes, c.CQs, c.QPs,
		c.UnackedEvents, c.CQOverruns, c.RNRNaks)
}

// Census counts.
func (n *Network) Census() Census {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.census()
}

func (n *Network) census() Census {
	var c C.struct_sim_census
	C.sim_fabric_census(n.fabric, &c)
	return Census{
		EventChannels: n.chans,
		IDs:           n.ids,
		Channels:      int(c.channels),
		PDs:           int(c.pds),
		MRs:           int(c.mrs),
		CQs:           int(c.cqs),
		QPs:           int(c.qps),
		MRBytes:       uint64(c.mr_bytes),
		UnackedEvents: uint64(c.unacked_events),
		CQOverruns:    uint64(c.cq_overruns),
		RNRNaks:       uint64(c.rnr_naks),
		PostSends:     uint64(c.post_sends),
		SendWRs:       uint64(c.send_wrs),
		PostRecvs:     uint64(c.post_recvs),
		RecvWRs:       uint64(c.recv_wrs),
		PayloadBytes:  uint64(c.bytes),
	}
}

// ErrAlive is what Close answers while objects are alive.
var ErrAlive = errors.New("sim: objects are alive")

// Close releases the network. While something is alive it answers an error that names it
// and wraps ErrAlive, and does nothing. A second call does nothing.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	if c := n.census(); !c.Empty() {
		n.mu.Unlock()
		return fmt.Errorf("%w: %v", ErrAlive, c)
	}
	n.closed = true
	n.mu.Unlock()
	n.clock.shut()
	for _, h := range n.hosts {
		for _, d := range h.all {
			d.stopReader()
			C.sim_device_destroy(d.ctx)
		}
	}
	C.sim_fabric_destroy(n.fabric)
	return nil
}

// opError types a failed operation.
func opError(op, device string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &rdma.OpError{Op: op, Device: device, Err: errno}
}

package datapath

/*
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE=1 -Wall -Wextra
#include "datapath.h"
#cgo noescape dp_engine_arm
#cgo noescape dp_engine_poll
*/
import "C"

import (
	"errors"
	"syscall"
	"time"
	"unsafe"
)

// errnoErr turns a C result into an error: nil for 0.
func errnoErr(rc C.int) error {
	if rc == 0 {
		return nil
	}
	return syscall.Errno(rc)
}

// WaitMode says how a C caller of wait behaves when its tokens are pending.
type WaitMode int

// The wait modes; see DEMI_WAIT.
const (
	WaitAdaptive WaitMode = C.DP_WAIT_ADAPTIVE // spin briefly, then sleep
	WaitSpin     WaitMode = C.DP_WAIT_SPIN     // never sleep
	WaitBlock    WaitMode = C.DP_WAIT_BLOCK    // never spin
)

// Config configures an engine.
type Config struct {
	WaitMode    WaitMode
	Spin        time.Duration // adaptive: how long to spin before sleeping
	MaxTokens   uint32        // tokens alive at most; 0: the default, 2^20
	MaxArenaMem uint64        // bytes of arena in the process at most; 0: no limit
}

// Engine is one set of completion queues, tokens and waiters with one lock; see DESIGN.
type Engine struct {
	c *C.struct_dp_engine
}

// NewEngine makes an engine. EAGAIN: too many engines; ENOMEM; EMFILE.
func NewEngine(cfg Config) (*Engine, error) {
	ccfg := C.struct_dp_config{
		wait_mode:     uint32(cfg.WaitMode),
		spin_ns:       C.uint32_t(cfg.Spin.Nanoseconds()),
		max_tokens:    C.uint32_t(cfg.MaxTokens),
		max_arena_mem: C.uint64_t(cfg.MaxArenaMem),
	}
	var e *C.struct_dp_engine
	if err := errnoErr(C.dp_engine_create(&ccfg, &e)); err != nil {
		return nil, err
	}
	return &Engine{c: e}, nil
}

// Destroy ends the engine. EBUSY while connections, CQs, descriptors or tokens of it live.
func (e *Engine) Destroy() error {
	return errnoErr(C.dp_engine_destroy(e.c))
}

// Abort fails every operation under way, for good: the control plane is no more. Connect,
// accept and close tokens fail with errno at once, pushes and pops once what was posted is
// accounted for.
func (e *Engine) Abort(errno syscall.Errno) { C.dp_engine_abort(e.c, C.int(errno)) }

// Index is the engine's number in the process, which its tokens carry.
func (e *Engine) Index() uint32 { return uint32(C.dp_engine_index(e.c)) }

// Handle is the C engine (struct dp_engine *), for C callers that choose one by thread.
func (e *Engine) Handle() unsafe.Pointer { return unsafe.Pointer(e.c) }

// EngineFromHandle wraps a C engine that somebody else owns.
func EngineFromHandle(p unsafe.Pointer) *Engine {
	return &Engine{c: (*C.struct_dp_engine)(p)}
}

// Poll polls every CQ of the engine once and does what follows. It returns the number of
// completions handled.
func (e *Engine) Poll() int { return int(C.dp_engine_poll(e.c)) }

// Tick looks after the connections that have a limit to their silence: elapsed has passed since
// the last call, or what the caller meant to wait if that is less. It returns when to call again;
// 0: no connection has a limit.
func (e *Engine) Tick(elapsed time.Duration) time.Duration {
	return time.Duration(C.dp_engine_tick(e.c, C.uint64_t(elapsed)))
}

// Activity is a count that changes whenever the application polls or waits.
func (e *Engine) Activity() uint64 { return uint64(C.dp_engine_activity(e.c)) }

// ErrBusyLeader is what Arm answers while a C thread sleeps as the engine's leader; a
// NoticeHousekeeper follows when it leaves.
var ErrBusyLeader error = syscall.EBUSY

// Arm asks for an event at the next completion. EAGAIN: there was something to do
// meanwhile, poll and try again; EBUSY: a C thread is the leader.
func (e *Engine) Arm() error { return errnoErr(C.dp_engine_arm(e.c)) }

// ChannelEvent drains and acknowledges the events of the engine's completion channels,
// then polls. It returns the number of completions handled.
func (e *Engine) ChannelEvent() int { return int(C.dp_engine_channel_event(e.c)) }

// IsTimeout reports whether err says that the time was over before anything completed.
func IsTimeout(err error) bool { return errors.Is(err, syscall.ETIMEDOUT) }

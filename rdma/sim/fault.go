package sim

import (
	"math/rand/v2"
	"syscall"
	"time"

	"catmint/rdma"
)

// MessageType is a message of the connection manager on the wire: InfiniBand Architecture
// Specification volume 1, section 12.6.
type MessageType int

// Messages of the connection manager.
const (
	REQ MessageType = iota
	REP
	RTU
	REJ
	DREQ
	DREP
)

// CallType is a call of the interfaces in package rdma.
type CallType int

// Calls that can be made to fail.
const (
	CallDevices CallType = iota
	CallNewEventChannel
	CallCreateID
	CallBindAddr
	CallResolveAddr
	CallResolveRoute
	CallListen
	CallCreateQP // of an id or a device
	CallTakeQP
	CallConnect
	CallAccept
	CallReject
	CallDisconnect
	CallAllocPD
	CallNewCompletionChannel
	CallCreateCQ
)

type triggerKind int

const (
	onEvent triggerKind = iota
	onMessage
	onCall
)

// Trigger is what a fault waits for.
type Trigger struct {
	kind  triggerKind
	value int
}

// Event triggers when an event is about to be reported.
func Event(t rdma.CMEvent) Trigger { return Trigger{onEvent, int(t)} }

// Message triggers when a message is sent, each retransmission included.
func Message(t MessageType) Trigger { return Trigger{onMessage, int(t)} }

// Call triggers when a call is made.
func Call(t CallType) Trigger { return Trigger{onCall, int(t)} }

type action int

const (
	actNone action = iota
	actDrop
	actDelay
	actSwap
	actHold
	actBecome
	actTimeOut
	actReject
	actFail
)

// Fault is one rule of a network, made by [Network.When] and narrowed by At, Nth, Times and
// Chance. It takes effect with the call of the method that says what shall happen.
type Fault struct {
	net     *Network
	trigger Trigger
	host    *Host
	nth     int
	times   int
	chance  float64
	rng     *rand.Rand

	action action
	delay  time.Duration
	status int
	become rdma.CMEvent
	errno  syscall.Errno

	// Guarded by net.mu.
	seen, struck int
	lifted       bool
	held         []func()
	strikes      chan struct{}
}

// When begins a fault: by default it strikes once, the first time, on any host.
func (n *Network) When(t Trigger) *Fault {
	return &Fault{net: n, trigger: t, nth: 1, times: 1, chance: 1, strikes: make(chan struct{}, 1024)}
}

// At narrows the fault to what happens on one host: for a message, to what it sends.
func (f *Fault) At(h *Host) *Fault {
	f.host = h
	return f
}

// Nth lets the fault strike from the nth time on, counted from 1.
func (f *Fault) Nth(n int) *Fault {
	f.nth = n
	return f
}

// Times says how many times in a row it strikes.
func (f *Fault) Times(n int) *Fault {
	f.times = n
	return f
}

// Always lets it strike every time.
func (f *Fault) Always() *Fault { return f.Times(-1) }

// Chance lets it strike with probability p where it would strike otherwise; the draws come
// from the network's seed.
func (f *Fault) Chance(p float64) *Fault {
	f.chance = p
	return f
}

func (f *Fault) arm(a action) *Fault {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	f.action = a
	f.rng = rand.New(rand.NewPCG(f.net.cfg.Seed, uint64(len(f.net.rules)))) //nolint:gosec // repeatable on purpose
	f.net.rules = append(f.net.rules, f)
	return f
}

// Drop loses the event or message. The connection manager sends a lost REQ, REP or DREQ
// again after 4.3 s of the network's clock, 15 times.
func (f *Fault) Drop() *Fault { return f.arm(actDrop) }

// Delay lets the event or message come late, by the network's clock.
func (f *Fault) Delay(d time.Duration) *Fault {
	f.delay = d
	return f.arm(actDelay)
}

// Swap holds the event back until the next one of the same id has been reported, so that
// the two change places.
func (f *Fault) Swap() *Fault { return f.arm(actSwap) }

// Hold keeps the event or message until Release.
func (f *Fault) Hold() *Fault { return f.arm(actHold) }

// Become turns the event into another, such as ADDR_RESOLVED into ADDR_ERROR; status is a
// negative errno, or a reject reason.
func (f *Fault) Become(t rdma.CMEvent, status int) *Fault {
	f.become, f.status = t, status
	return f.arm(actBecome)
}

// TimeOut loses a REQ, REP or DREQ and all its retransmissions, at once.
func (f *Fault) TimeOut() *Fault { return f.arm(actTimeOut) }

// Reject has a REQ answered by the peer's connection manager with a REJ.
func (f *Fault) Reject(reason rdma.RejectReason) *Fault {
	f.status = int(reason)
	return f.arm(actReject)
}

// Fail lets the call return an error.
func (f *Fault) Fail(errno syscall.Errno) *Fault {
	f.errno = errno
	return f.arm(actFail)
}

// Lift ends the fault. What it holds stays held.
func (f *Fault) Lift() {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	f.lifted = true
}

// Release lets go what Hold has held so far, in order.
func (f *Fault) Release() {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	held := f.held
	f.held = nil
	for _, g := range held {
		g()
	}
}

// Struck says how many times the fault has struck.
func (f *Fault) Struck() int {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	return f.struck
}

// Strikes delivers a value each time the fault strikes, for tests that wait for it.
func (f *Fault) Strikes() <-chan struct{} { return f.strikes }

// strike returns the fault that strikes now, if any. Called with mu held.
func (n *Network) strike(t Trigger, h *Host) *Fault {
	var hit *Fault
	for _, f := range n.rules {
		if f.trigger != t || f.lifted || (f.host != nil && f.host != h) {
			continue
		}
		f.seen++
		if hit != nil || f.seen < f.nth || (f.times >= 0 && f.struck >= f.times) {
			continue
		}
		if f.chance < 1 && f.rng.Float64() >= f.chance {
			continue
		}
		hit = f
	}
	if hit != nil {
		hit.struck++
		select {
		case hit.strikes <- struct{}{}:
		default:
		}
	}
	return hit
}

// callLocked is the error with which a call must fail. Called with the network's mu held.
func (h *Host) callLocked(c CallType, op, device string) error {
	f := h.net.strike(Call(c), h)
	if f == nil || f.action != actFail {
		return nil
	}
	return opError(op, device, f.errno)
}

func (h *Host) call(c CallType, op, device string) error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.callLocked(c, op, device)
}

package connfsm

import "syscall"

// How often a resolution and a stale connection are tried, the first time included. Each
// try of a resolution has a time limit of its own; all of them are within the deadline.
const (
	MaxAddrTries  = 3
	MaxRouteTries = 3
	MaxStaleTries = 3
)

// Conn is the whole state of one connection. It is a value: Step returns the next one.
// The zero Conn is an idle socket of the active side.
type Conn struct {
	State State
	Role  Role

	Pending bool // the outcome (token, or Ready / Gone) has not been told
	HasID   bool // an id may exist
	HasQP   bool // queue pair and data-plane half exist
	Making  bool // CreateQP has not been answered
	Await   bool // our rdma_disconnect has not been answered by DISCONNECTED
	Drained bool // in the Flushing states: the data plane has accounted for all work

	AddrTries  uint8
	RouteTries uint8
	StaleTries uint8

	Err syscall.Errno // why the connection ended, for the flush that is still to come
}

// Bound is an idle socket whose id exists already because it was bound.
func Bound() Conn { return Conn{HasID: true} }

// Step takes an event and returns the next state and what is to be done, in order. It
// never fails: an event that cannot happen in a state changes nothing and asks for a log
// line (Unexpected).
func (c Conn) Step(ev Event) (Conn, []Action) { return c.StepIn(new(Room), ev) }

// Room is where a step takes place, and where its actions lie until the next one there.
type Room struct{ s step }

// StepIn is Step without an allocation, as a rule.
func (c Conn) StepIn(r *Room, ev Event) (Conn, []Action) {
	s := &r.s
	s.c, s.ev, s.out = c, ev, s.room[:0]
	if c.State >= numStates || ev.Kind >= numEvents {
		return c, []Action{{Op: Unexpected}}
	}
	if act := acts[c.State][ev.Kind]; act != nil {
		act(s)
	} else if !late[ev.Kind].has(c.State) {
		odd(s)
	}
	return s.c, s.out
}

// Done says whether the connection has ended for good.
func (c Conn) Done() bool { return c.State == Released }

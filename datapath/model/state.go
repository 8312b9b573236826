package model

import (
	"fmt"
	"strings"

	"catmint/datapath/internal/cwire"
)

const (
	maxPending  = 4  // pushes waiting, as encoded
	maxQueue    = 12 // messages unread, as encoded
	maxInFlight = 24 // frames in one channel
)

// What a message is, in the sender's queue of pushes and in the receiver's of unread messages.
const (
	eager   uint8 = iota // its bytes came with its frame
	large                // its RTS came, its bytes are with the sender
	fetched              // its RTS came, its bytes have been read
)

// Endpoint is one side: the flow that the rules work on, its application and its engine.
type Endpoint struct {
	Flow cwire.Flow

	pending  [maxPending]uint8 // pushes not sent yet, oldest first
	nPending int
	queue    [maxQueue]uint8 // messages arrived and not popped, oldest first
	nQueue   int

	dones  int // DONEs to be sent
	resets int // RESETs to be sent
	late   int // of the dones, those of messages already popped
	kept   int // receives whose messages are gone, to be returned with others

	popWaits     bool // a pop waits for the head of the queue to be read
	gone         bool // it has disconnected
	disconnected bool // it has seen the peer's disconnection
	cut          bool // it disconnected because its linger time was over
}

// Channel carries the frames of one side, oldest first.
type Channel struct {
	frames [maxInFlight]cwire.Frame
	n      int
}

// State is both endpoints and what is on its way between them.
type State struct {
	E    [2]Endpoint
	Ch   [2]Channel // Ch[i] carries what side i sent
	turn uint8      // PingPong: whose step is next
}

// start is where the cumulative counts of a rebuilt state begin, so that they wrap in it.
const start = 0xFFFE

// newState is a connection just established.
func newState(c *Config) (State, error) {
	var s State
	for i := range s.E {
		f := &s.E[i].Flow
		data, ctrl := c.windows(i)
		peerData, peerCtrl := c.windows(1 - i)
		err := f.Init(uint32(data), uint32(max(ctrl, cwire.CtrlWindowMin)),
			uint32(peerData), uint32(max(peerCtrl, cwire.CtrlWindowMin)))
		if err != nil {
			return s, fmt.Errorf("windows %d and %d: %w", data, ctrl, err)
		}
		c.override(f, i)
		counts{}.restore(f)
	}
	return s, nil
}

// counts are those of a flow that it keeps as differences.
type counts struct {
	dataTold, dataSent, dataIn uint16
	ctrlTold, ctrlSent, ctrlIn uint16
}

// restore puts them into a flow whose other counts and windows are there.
func (n counts) restore(f *cwire.Flow) {
	f.DataOwed, f.CtrlOwed = f.DataReturned-n.dataTold, f.CtrlReturned-n.ctrlTold
	f.DataOpen = int16(f.Granted - (n.dataIn - n.dataTold))
	f.CtrlOpen = int16(f.CtrlWindow - (n.ctrlIn - n.ctrlTold))
	f.DataCredit = int16(f.PeerDataWindow - (n.dataSent - f.DataAcked))
	f.CtrlCredit = int16(f.PeerCtrlWindow - (n.ctrlSent - f.CtrlAcked))
}

// override puts the constants under examination in place of the rules' own, on side i.
func (c *Config) override(f *cwire.Flow, i int) {
	_, f.CtrlWindow = c.windows(i)
	_, f.PeerCtrlWindow = c.windows(1 - i)
	if c.DataDue != 0 {
		f.DataDue = uint16(c.DataDue)
	}
	if c.CtrlDue != 0 {
		f.CtrlDue = uint16(c.CtrlDue)
	}
	if c.CtrlReserve != 0 {
		f.CtrlReserve = uint16(max(c.CtrlReserve, 0))
	}
}

func (e *Endpoint) push(kind uint8) {
	e.pending[e.nPending] = kind
	e.nPending++
}

func (e *Endpoint) takePending() uint8 {
	kind := e.pending[0]
	copy(e.pending[:], e.pending[1:e.nPending])
	e.nPending--
	e.pending[e.nPending] = 0
	return kind
}

func (e *Endpoint) enqueue(kind uint8) {
	e.queue[e.nQueue] = kind
	e.nQueue++
}

func (e *Endpoint) dequeue() uint8 {
	kind := e.queue[0]
	copy(e.queue[:], e.queue[1:e.nQueue])
	e.nQueue--
	e.queue[e.nQueue] = 0
	return kind
}

// unread returns the place of the oldest large message whose bytes are not here, or -1.
func (e *Endpoint) unread() int {
	for i := range e.nQueue {
		if e.queue[i] == large {
			return i
		}
	}
	return -1
}

// fetched counts the messages in the queue that were read from the peer.
func (e *Endpoint) fetched() int {
	n := 0
	for _, kind := range e.queue[:e.nQueue] {
		n += int(bit(kind == fetched))
	}
	return n
}

// alive tells whether the endpoint can still act on the connection.
func (e *Endpoint) alive() bool { return !e.gone && !e.disconnected }

func (c *Channel) put(f cwire.Frame) {
	c.frames[c.n] = f
	c.n++
}

func (c *Channel) take() cwire.Frame {
	f := c.frames[0]
	copy(c.frames[:], c.frames[1:c.n])
	c.n--
	c.frames[c.n] = cwire.Frame{}
	return f
}

// count returns how many frames on their way use a data receive, and how many a control one.
func (c *Channel) count() (data, ctrl int) {
	for i := range c.n {
		if c.frames[i].Type.IsData() {
			data++
		} else {
			ctrl++
		}
	}
	return data, ctrl
}

// String draws the state in three lines, for counterexamples.
func (s *State) String() string {
	var b strings.Builder
	for i := range s.E {
		e, f := &s.E[i], &s.E[i].Flow
		fmt.Fprintf(&b, "  side %d: pushes waiting %d, unread %d, credit %d data %d control, owes %d data %d control,"+
			" FIN want %d sent %d acked %d, peer's %d acked %d",
			i, e.nPending, e.nQueue, f.DataCredit, f.CtrlCredit,
			f.DataOwed, f.CtrlOwed,
			f.FinWant, f.FinSent, f.FinAcked, f.PeerFin, f.PeerFinAck)
		if f.PingSent != 0 || f.PongOwed != 0 {
			fmt.Fprintf(&b, ", ping %d pong owed %d", f.PingSent, f.PongOwed)
		}
		if f.RTSOpen != 0 || f.RTSOwed != 0 {
			fmt.Fprintf(&b, ", RTS open %d owed %d", f.RTSOpen, f.RTSOwed)
		}
		if e.gone || e.disconnected {
			fmt.Fprintf(&b, ", gone %v disconnected %v", e.gone, e.disconnected)
		}
		b.WriteByte('\n')
	}
	for i := range s.Ch {
		fmt.Fprintf(&b, "  from %d:", i)
		for _, f := range s.Ch[i].frames[:s.Ch[i].n] {
			fmt.Fprintf(&b, " %v", f.Type)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

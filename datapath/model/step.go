package model

import (
	"fmt"

	"catmint/datapath/internal/cwire"
)

// Action is one step of one side.
type Action uint8

// The steps. Those of the application may happen or not; those of the engine, the channel
// and the peer's disconnection happen sooner or later if they stay possible.
const (
	PushEager Action = iota
	PushLarge
	Pop
	AwaitPop // a pop waits for the large message at the head of the queue
	CloseHalf
	CloseFull
	SendPing
	Grow
	Double
	TellNow // that the window has doubled is not left to the next message
	Cut     // the linger time is over

	SendData
	SendCtrl
	Read    // an RDMA READ completes
	Deliver // the oldest frame on its way to this side arrives
	Leave   // the close is done: this side disconnects
	SeeDisconnect

	numActions
)

var actionNames = [numActions]string{
	"push", "push large", "pop", "pop waits", "close half", "close full", "keepalive", "grow window", "double window", "tell now",
	"linger time over", "send data", "send control", "RDMA READ done", "deliver", "disconnect",
	"see disconnection",
}

func (a Action) String() string { return actionNames[a] }

// engine tells whether the step needs no application to happen.
func (a Action) engine() bool { return a >= SendData }

// Step is an action of a side.
type Step struct {
	Side   int
	Action Action
}

func (s Step) String() string { return fmt.Sprintf("side %d: %v", s.Side, s.Action) }

// try applies the step to s if it is possible there. An error is a property that the step
// itself violates; sent is the type of the frame that it sent.
func (c *Config) try(s *State, st Step, views *[2]cwire.View) (ok bool, sent cwire.Type, err error) {
	i := st.Side
	e, v := &s.E[i], &views[i]
	if !e.alive() {
		return false, 0, nil
	}
	switch st.Action {
	case PushEager, PushLarge:
		return c.tryPush(s, i, st.Action, v), 0, nil
	case Pop, AwaitPop:
		return c.tryPop(s, i, st.Action), 0, nil
	case CloseHalf, CloseFull:
		return c.tryClose(s, i, st.Action), 0, nil
	case SendPing:
		if !c.Pings[i] || e.Flow.PingSent != 0 || !v.MaySendCtrl || s.E[1-i].gone {
			return false, 0, nil
		}
		s.send(i, cwire.Ping, 0, pingArg)
		return true, cwire.Ping, nil
	case Grow:
		by := max(c.GrowBy, 1)
		if int(e.Flow.Added)+by > c.Grows[i] || !v.ExpectsData {
			return false, 0, nil
		}
		return true, 0, e.Flow.Add(uint32(by))
	case Double:
		by := e.Flow.DataWindow
		if c.Doubles[i] == NeverDoubles || int(e.Flow.Added+by) > c.Doubled || !v.ExpectsData || e.Flow.Granted != by {
			return false, 0, nil
		}
		if err := e.Flow.Add(uint32(by)); err != nil {
			return true, 0, err
		}
		ok = e.Flow.TellLater()
		if c.Wrong == DueBeforeTold {
			e.Flow.DataDue = cwire.DataDueFor(e.Flow.DataWindow)
		}
		return ok, 0, nil
	case TellNow:
		if c.Doubles[i] != DoublesAnyhow || !e.Flow.ToldLater() {
			return false, 0, nil
		}
		e.Flow.TellNow()
		return true, 0, nil
	case Cut:
		return c.tryCut(s, i, v), 0, nil
	case SendData:
		ok, sent = c.trySendData(s, i, v)
		return ok, sent, nil
	case SendCtrl:
		return c.trySendCtrl(s, i, v)
	case Read:
		return c.tryRead(s, i), 0, nil
	case Deliver:
		return c.deliver(s, i)
	case Leave:
		return c.tryLeave(s, i, v)
	case SeeDisconnect:
		return c.trySeeDisconnect(s, i, v)
	default:
		return false, 0, nil
	}
}

// send accounts for a frame and puts it into the channel.
func (s *State) send(i int, t cwire.Type, length, arg uint32) {
	s.Ch[i].put(s.E[i].Flow.Send(t, length, arg))
}

func (c *Config) tryPush(s *State, i int, a Action, v *cwire.View) bool {
	e := &s.E[i]
	if e.nPending >= c.Pushes[i] || !v.MayPush ||
		(a == PushEager && c.Sizes[i] == Large) || (a == PushLarge && c.Sizes[i] == Eager) {
		return false
	}
	if c.Mode == PingPong {
		if s.turn != uint8(2*i) {
			return false
		}
		s.turn = uint8(2*i + 1)
	}
	e.push(uint8(a - PushEager))
	return true
}

// tryPop takes the head of the queue, or lets a pop wait for its bytes. Taking it posts a
// fresh receive, for a large message once it has been answered as well.
func (c *Config) tryPop(s *State, i int, a Action) bool {
	e := &s.E[i]
	if e.nQueue == 0 || (c.Mode == PingPong && s.turn != uint8(2*(1-i)+1)) {
		return false
	}
	if a == AwaitPop {
		if e.queue[0] != large || e.popWaits {
			return false
		}
		e.popWaits = true
		return true
	}
	if e.queue[0] == large {
		return false
	}
	e.popWaits = false
	if c.Wrong != AnsweredTooLate && e.queue[0] == fetched && e.fetched() == e.dones-e.late {
		e.late++ // its DONE is still to be sent, and returns its receive
	} else {
		c.returnData(e)
	}
	e.dequeue()
	if c.Mode == PingPong {
		s.turn = uint8(2 * i)
	}
	return true
}

func (c *Config) tryClose(s *State, i int, a Action) bool {
	e := &s.E[i]
	level := cwire.Half
	if a == CloseFull {
		level = cwire.Full
	}
	if e.Flow.FinWant >= level || !c.Closes[i].allows(level) {
		return false
	}
	e.Flow.Close(level)
	if level == cwire.Full {
		c.dropQueue(e)
	}
	return true
}

// dropQueue does away with what nobody will pop any more: messages whose bytes are here
// return their receives, the others are refused.
func (c *Config) dropQueue(e *Endpoint) {
	e.popWaits = false
	for e.nQueue > 0 {
		if e.queue[0] == fetched && c.Wrong != AnsweredTooLate && e.fetched() == e.dones-e.late {
			e.late++
			e.dequeue()
			continue
		}
		c.drop(e, e.dequeue())
	}
}

func (c *Config) drop(e *Endpoint, kind uint8) {
	if kind == large {
		e.resets++
		if c.Wrong == AnsweredTooLate {
			c.returnData(e)
		}
		return
	}
	if c.Wrong != KeepsDropped {
		c.returnData(e)
	}
}

// returnData posts a receive in place of one whose message is gone, at once or when a list of
// them has come together.
func (c *Config) returnData(e *Endpoint) {
	if e.kept++; !c.Keeps && e.kept >= c.Lists {
		e.returnKept()
	}
}

func (e *Endpoint) returnKept() {
	for ; e.kept > 0; e.kept-- {
		e.Flow.ReturnData()
	}
}

// tryCut ends the connection at once, as libos does when the linger time is over.
func (c *Config) tryCut(s *State, i int, v *cwire.View) bool {
	e := &s.E[i]
	if !c.Cuts || e.Flow.FinWant != cwire.Full || v.Drained {
		return false
	}
	e.cut = true
	s.leave(i)
	return true
}

func (s *State) leave(i int) {
	e := &s.E[i]
	e.gone = true
	for e.nPending > 0 {
		e.takePending()
	}
	s.Ch[1-i] = Channel{}
}

func (c *Config) trySendData(s *State, i int, v *cwire.View) (bool, cwire.Type) {
	e := &s.E[i]
	if e.nPending == 0 || s.E[1-i].gone || (!v.MaySendData && c.Wrong != DataIgnoresCredit) {
		return false, 0
	}
	t, length := cwire.Data, uint32(1)
	if e.takePending() == large {
		t, length = cwire.RTS, cwire.RTSSize
	}
	s.send(i, t, length, 0)
	return true, t
}

// ctrlDue is the control frame that the engine sends next, or 0: DONE and RESET, then what
// the rules say. A CREDIT waits for DATA that can be sent, which returns receives as well.
func (c *Config) ctrlDue(e *Endpoint, v *cwire.View) cwire.Type {
	f := &e.Flow
	switch {
	case c.Wrong == FinIgnoresSlots && v.FinDue:
		return cwire.Fin
	case !v.MaySendCtrl:
		return 0
	case c.Wrong == FinAckBeforeReads && f.PeerFin > f.PeerFinAck:
		return cwire.FinAck
	case e.dones > 0:
		return cwire.Done
	case e.resets > 0:
		return cwire.Reset
	case c.Wrong == FinOvertakesPushes && e.nPending > 0 && f.FinWant > f.FinSent:
		return cwire.Fin
	}
	t := v.NextCtrl
	if t == 0 && c.Wrong == CreditWhenOut && f.DataOwed != 0 && f.DataOpen == 0 && f.Granted == f.DataWindow {
		t = cwire.Credit
	}
	if t == cwire.Credit && ((e.nPending > 0 && v.MaySendData) || c.Wrong == CreditByPushOnly) {
		return 0
	}
	return t
}

func (c *Config) trySendCtrl(s *State, i int, v *cwire.View) (bool, cwire.Type, error) {
	e := &s.E[i]
	f := &e.Flow
	if s.E[1-i].gone {
		return false, 0, nil
	}
	t := c.ctrlDue(e, v)
	switch t {
	case 0:
		return false, 0, nil
	case cwire.Done:
		e.dones--
		if e.late > 0 {
			e.late--
			c.returnData(e)
		}
		if c.Keeps {
			e.returnKept()
		}
		s.send(i, t, 0, f.RTSIn-f.RTSOwed)
	case cwire.Reset:
		e.resets--
		if c.Wrong != AnsweredTooLate {
			c.returnData(e)
		}
		if c.Keeps {
			e.returnKept()
		}
		s.send(i, t, 0, f.RTSIn-f.RTSOwed)
	default:
		s.send(i, t, 0, 0)
	}
	if t == cwire.Pong && c.Wrong == PongForgetsCounts {
		h := &s.Ch[i].frames[s.Ch[i].n-1]
		h.DataReturned, h.CtrlReturned = s.E[1-i].Flow.DataAcked, s.E[1-i].Flow.CtrlAcked
	}
	return true, t, nil
}

// tryRead completes the READ of the oldest large message, if one has been started: for a
// pop that waits, because a FIN waits for its FIN_ACK, or ahead of both.
func (c *Config) tryRead(s *State, i int) bool {
	e := &s.E[i]
	at := e.unread()
	if at < 0 || s.E[1-i].gone {
		return false
	}
	if !e.popWaits && !c.Prefetch && (e.Flow.PeerFin == cwire.Open || c.Wrong == ReadsWaitForPops) {
		return false
	}
	e.queue[at] = fetched
	e.dones++
	return true
}

func (c *Config) deliver(s *State, i int) (bool, cwire.Type, error) {
	e, ch := &s.E[i], &s.Ch[1-i]
	f := &e.Flow
	if ch.n == 0 {
		return false, 0, nil
	}
	h := ch.take()
	if err := f.Receive(&h); err != nil {
		return true, 0, fmt.Errorf("an honest peer's %v is refused: %w", h.Type, err)
	}
	if h.Type.IsData() {
		kind := eager
		if h.Type == cwire.RTS {
			kind = large
		}
		if f.FinWant == cwire.Full {
			c.drop(e, kind)
		} else {
			e.enqueue(kind)
		}
		return true, 0, nil
	}
	f.ReturnCtrl()
	switch h.Type {
	case cwire.Fin:
		if f.PeerFin == cwire.Full { // pushes that wait end with EPIPE
			for e.nPending > 0 {
				e.takePending()
			}
		}
	case cwire.FinAck:
		return true, 0, s.checkDelivered(i, true)
	default:
	}
	return true, 0, nil
}

func (c *Config) tryLeave(s *State, i int, v *cwire.View) (bool, cwire.Type, error) {
	e := &s.E[i]
	f := &e.Flow
	if f.FinWant != cwire.Full || !v.Drained {
		return false, 0, nil
	}
	err := s.checkDelivered(i, false)
	s.leave(i)
	return true, 0, err
}

func (c *Config) trySeeDisconnect(s *State, i int, v *cwire.View) (bool, cwire.Type, error) {
	e, p := &s.E[i], &s.E[1-i]
	if !p.gone || s.Ch[1-i].n > 0 {
		return false, 0, nil
	}
	e.disconnected = true
	for e.nPending > 0 {
		e.takePending()
	}
	if !v.Orderly && !p.cut {
		return true, 0, fmt.Errorf("side %d sees a disconnection that the rules do not call orderly", i)
	}
	return true, 0, nil
}

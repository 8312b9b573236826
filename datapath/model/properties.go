package model

import (
	"errors"
	"fmt"

	"catmint/datapath/internal/cwire"
)

// checkShape checks what must hold in every state: nothing lost or doubled between the two
// sides, a posted receive for every frame on its way, and the relations by which a state is
// stored.
func (c *Config) checkShape(s *State) error {
	for i := range s.E {
		if s.E[0].gone || s.E[1].gone {
			return nil // what is on its way to a side that left is lost, as it should be
		}
		if err := c.checkDirection(s, i); err != nil {
			return fmt.Errorf("from side %d: %w", i, err)
		}
	}
	return nil
}

// checkDirection looks at what side i sends and side 1-i receives and returns.
func (c *Config) checkDirection(s *State, i int) error {
	f, p, q := &s.E[i].Flow, &s.E[1-i].Flow, &s.E[1-i]
	data, ctrl := s.Ch[i].count()
	posted := int(p.DataWindow - (p.DataIn() - p.DataReturned))
	postedCtrl := int(p.CtrlWindow - (p.CtrlIn() - p.CtrlReturned))
	switch {
	case int(f.SeqOut-p.SeqIn) != s.Ch[i].n:
		return errors.New("frames lost or doubled")
	case int(f.DataSent()-p.DataIn()) != data || int(f.CtrlSent()-p.CtrlIn()) != ctrl:
		return errors.New("frames of one account lost or doubled")
	case data > posted || posted > int(p.DataWindow):
		return fmt.Errorf("%d data frames on their way to %d data receives: receiver not ready", data, posted)
	case ctrl > postedCtrl || postedCtrl > int(p.CtrlWindow):
		return fmt.Errorf("%d control frames on their way to %d control receives: receiver not ready", ctrl, postedCtrl)
	case int(p.DataIn()-p.DataReturned) != q.nQueue+q.resets+q.late+q.kept && c.Wrong != AnsweredTooLate &&
		c.Wrong != KeepsDropped:
		return errors.New("receives neither posted nor holding a message")
	case int(p.RTSOwed) != q.dones+q.resets+countLarge(q):
		return errors.New("a large message is neither waiting nor answered")
	case f.RTSOpen > uint32(p.DataWindow):
		return errors.New("more large messages are pinned than the window has room for")
	case p.RTSOwed > 0 && int(f.RTSOpen) < int(p.RTSOwed):
		return errors.New("a large message was released before it was answered")
	}
	return checkTold(f, p, &s.Ch[1-i])
}

func countLarge(e *Endpoint) int {
	n := 0
	for _, kind := range e.queue[:e.nQueue] {
		if kind == large {
			n++
		}
	}
	return n
}

// checkTold: what the receiver p believes to have told the sender f of its returns is what f
// has heard, or will hear from the frames on their way. A credit told and not heard is lost.
func checkTold(f, p *cwire.Flow, back *Channel) error {
	data, ctrl, added := f.DataAcked, f.CtrlAcked, f.PeerAdded
	for k := range back.n {
		h := &back.frames[k]
		if int16(h.DataReturned-data) < 0 || int16(h.CtrlReturned-ctrl) < 0 {
			return errors.New("a count goes backwards")
		}
		data, ctrl = h.DataReturned, h.CtrlReturned
		if h.Type == cwire.Credit {
			added = uint16(h.Arg)
		}
		if h.Type.IsData() && h.Flags&cwire.FlagDoubled != 0 {
			added += f.PeerDataWindow - f.PeerAdded + added
		}
	}
	switch {
	case data != p.DataTold() || ctrl != p.CtrlTold() || added != p.AddedTold():
		return errors.New("a credit is lost: told, and not on its way")
	case int16(p.DataOwed) < 0 || int16(p.DataIn()-p.DataReturned) < 0:
		return errors.New("a credit is doubled: more data receives returned than used")
	case int16(p.CtrlOwed) < 0 || int16(p.CtrlIn()-p.CtrlReturned) < 0:
		return errors.New("a credit is doubled: more control receives returned than used")
	}
	return nil
}

// checkDelivered: what side i pushed before it closed is in the peer's libOS, or the peer
// wanted no more of it. Checked whenever side i learns so: FIN_ACK, or its close is done.
func (s *State) checkDelivered(i int, acked bool) error {
	e, p := &s.E[i], &s.E[1-i]
	data, _ := s.Ch[i].count()
	if p.Flow.FinWant == cwire.Full || p.disconnected {
		return nil
	}
	switch {
	case data > 0 || (e.nPending > 0 && !p.gone):
		return fmt.Errorf("the close of side %d is acknowledged while its messages are not with the peer", i)
	case countLarge(p) > 0 && !p.gone:
		return fmt.Errorf("the close of side %d is acknowledged while its large messages are unread", i)
	case e.Flow.RTSOpen > 0 && acked:
		return fmt.Errorf("the close of side %d is acknowledged before its large messages are", i)
	}
	return nil
}

// checkQuiet checks a state in which nothing happens any more unless an application acts.
// What then waits, waits for ever; only an application that does not pop may be the cause.
func (c *Config) checkQuiet(s *State, views *[2]cwire.View) error {
	for i := range s.E {
		e, p, v := &s.E[i], &s.E[1-i], &views[i]
		if !e.alive() || !p.alive() {
			if e.alive() {
				return fmt.Errorf("side %d never sees the peer's disconnection", i)
			}
			continue
		}
		f := &e.Flow
		switch {
		case e.nPending > 0 && p.nQueue == 0:
			return fmt.Errorf("deadlock: side %d has pushes waiting, and the peer's application has popped everything", i)
		case e.dones+e.resets > 0:
			return fmt.Errorf("deadlock: side %d cannot answer an RTS", i)
		case f.PongOwed != 0:
			return fmt.Errorf("deadlock: side %d cannot answer a PING", i)
		case f.PeerFin != f.PeerFinAck:
			return fmt.Errorf("deadlock: side %d cannot acknowledge a FIN", i)
		case e.popWaits && e.unread() == 0:
			return fmt.Errorf("deadlock: a pop of side %d waits for a READ that is not made", i)
		case f.FinWant != cwire.Open && e.nPending == 0 && !v.Drained:
			return fmt.Errorf("deadlock: the close of side %d never ends", i)
		case !v.MaySendCtrl:
			return fmt.Errorf("deadlock: side %d can send no control frame, should it need to", i)
		}
	}
	return nil
}

// rank is a natural number that every step of an engine or a channel, and every pop, makes
// smaller: so whatever the interleaving, applications that only pop see finitely many frames.
//
// Each thing costs more than what it can turn into: a push (20) a frame on its way (19),
// that an unread message (18, or 9 if its bytes are here), that a receive kept for a list or
// for its DONE (5), that one owed (4); a large message also a READ and a DONE (5). A control frame on its way (3) becomes a control
// receive owed (2), of which a bare CREDIT needs two at least, or data receives owed, or a
// window grown (4). A FIN (10) becomes a frame (9) that becomes a FIN_ACK due (5).
func (s *State) rank() int {
	total := 0
	for i := range s.E {
		e, p := &s.E[i], &s.E[1-i]
		f := &e.Flow
		total += 20*e.nPending + 5*(e.dones+2*e.resets) +
			4*int(f.DataOwed) + 2*int(f.CtrlOwed) +
			5*int(f.PongOwed) + 5*int(bit(f.PeerFin > f.PeerFinAck)) +
			10*int(bit(f.FinWant > f.FinSent)) + 4*int(bit(f.Granted != f.DataWindow)) +
			1000*int(bit(!e.gone)+bit(!e.disconnected)) + 5*(e.kept+e.late)
		for _, kind := range e.queue[:e.nQueue] {
			if kind == large {
				total += 18
			} else {
				total += 9
			}
		}
		if p.gone {
			continue
		}
		for k := range s.Ch[i].n {
			switch s.Ch[i].frames[k].Type {
			case cwire.Data, cwire.RTS:
				total += 19
			case cwire.Fin:
				total += 9
			case cwire.Ping:
				total += 8
			default:
				total += 3
			}
		}
	}
	return total
}

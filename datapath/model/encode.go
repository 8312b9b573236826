package model

import "catmint/datapath/internal/cwire"

// A state is stored as the differences between its counts: one byte string per class of
// states that behave alike. Counts of one direction (i to j) are differences from what i
// last heard of j's returns, the oldest of them all; sequence numbers and the numbers of RTS
// follow from the channels. checkShape proves that nothing is lost this way.

// Frames take two bytes: type and flags, both counts, and the receives added.
const (
	codeFinFull    = uint8(cwire.TypeLast) + 1
	codeFinAckFull = uint8(cwire.TypeLast) + 2

	codeDoubled = uint8(cwire.TypeLast) + 3 // of DATA, and one more of RTS
)

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// encode appends the stored form of s to key, with side first as side 0.
func (s *State) encode(key []byte, first int) []byte {
	for n := range 2 {
		i := n ^ first
		e, f, p := &s.E[i], &s.E[i].Flow, &s.E[1-i].Flow
		key = append(key,
			uint8(p.DataTold()-f.DataAcked)|uint8(p.DataReturned-f.DataAcked)<<4,
			uint8(p.DataIn()-f.DataAcked)|uint8(f.DataSent()-f.DataAcked)<<4,
			uint8(p.CtrlTold()-f.CtrlAcked)|uint8(p.CtrlReturned-f.CtrlAcked)<<4,
			uint8(p.CtrlIn()-f.CtrlAcked)|uint8(f.CtrlSent()-f.CtrlAcked)<<4,
			uint8(f.FinWant)|uint8(f.FinSent)<<2|uint8(f.FinAcked)<<4,
			uint8(f.PeerFin)|uint8(f.PeerFinAck)<<2|uint8(f.PeerAdded)<<4,
			uint8(f.Added)|uint8(f.AddedTold())<<4,
			f.PingSent|f.PongOwed<<1|bit(e.popWaits)<<2|bit(e.gone)<<3|bit(e.disconnected)<<4|
				bit(e.cut)<<5|bit(f.ToldLater())<<6,
			uint8(f.RTSOpen)|uint8(f.RTSOwed)<<4,
			uint8(e.dones)|uint8(e.resets)<<4,
			uint8(e.late)|uint8(e.kept)<<4,
			uint8(e.nPending)|uint8(e.nQueue)<<4)
		var kinds uint8
		for k := range e.nPending {
			kinds |= e.pending[k] << (2 * k)
		}
		if e.nPending > 0 {
			key = append(key, kinds)
		}
		for k := 0; k < e.nQueue; k += 4 {
			kinds = 0
			for l := k; l < min(k+4, e.nQueue); l++ {
				kinds |= e.queue[l] << (2 * (l - k))
			}
			key = append(key, kinds)
		}
		key = append(key, uint8(s.Ch[i].n))
		for k := range s.Ch[i].n {
			h := &s.Ch[i].frames[k]
			code := uint8(h.Type)
			switch {
			case h.Flags == 0:
			case h.Type.IsData():
				code = codeDoubled + bit(h.Type == cwire.RTS)
			default:
				code = codeFinFull + bit(h.Type == cwire.FinAck)
			}
			var added uint8
			if h.Type == cwire.Credit {
				added = uint8(h.Arg)
			}
			key = append(key, code|added<<4,
				uint8(h.DataReturned-p.DataAcked)|uint8(h.CtrlReturned-p.CtrlAcked)<<4)
		}
	}
	return append(key, s.turn^uint8(first))
}

// decode rebuilds the state that encode stored, with counts that begin at start.
func (c *Config) decode(key []byte) State {
	var s State
	var counts [2]counts
	next := func() uint8 {
		b := key[0]
		key = key[1:]
		return b
	}
	nibbles := func() (lo, hi uint16) {
		b := next()
		return start + uint16(b&15), start + uint16(b>>4)
	}
	for i := range s.E {
		e, f, p := &s.E[i], &s.E[i].Flow, &s.E[1-i].Flow
		f.DataAcked, f.CtrlAcked = start, start
		n, m := &counts[i], &counts[1-i]
		m.dataTold, p.DataReturned = nibbles()
		m.dataIn, n.dataSent = nibbles()
		m.ctrlTold, p.CtrlReturned = nibbles()
		m.ctrlIn, n.ctrlSent = nibbles()
		b := next()
		f.FinWant, f.FinSent, f.FinAcked = cwire.Level(b&3), cwire.Level(b>>2&3), cwire.Level(b>>4&3)
		b = next()
		f.PeerFin, f.PeerFinAck = cwire.Level(b&3), cwire.Level(b>>2&3)
		f.PeerAdded = uint16(b >> 4)
		b = next()
		f.Added, f.Granted = uint16(b&15), uint16(b>>4) // rebuild adds the hello's
		b = next()
		f.PingSent, f.PongOwed = b&1, b>>1&1
		f.TypeOut = uint16(cwire.Data) | uint16(b>>6&1*cwire.FlagDoubled)<<8
		e.popWaits, e.gone, e.disconnected, e.cut = b>>2&1 != 0, b>>3&1 != 0, b>>4&1 != 0, b>>5&1 != 0
		b = next()
		f.RTSOpen, f.RTSOwed = uint32(b&15), uint32(b>>4)
		b = next()
		e.dones, e.resets = int(b&15), int(b>>4)
		b = next()
		e.late, e.kept = int(b&15), int(b>>4)
		b = next()
		e.nPending, e.nQueue = int(b&15), int(b>>4)
		if e.nPending > 0 {
			b = next()
			for k := range e.nPending {
				e.pending[k] = b >> (2 * k) & 3
			}
		}
		for k := 0; k < e.nQueue; k += 4 {
			b = next()
			for l := k; l < min(k+4, e.nQueue); l++ {
				e.queue[l] = b >> (2 * (l - k)) & 3
			}
		}
		s.Ch[i].n = int(next())
		for k := range s.Ch[i].n {
			code, counts := next(), next()
			s.Ch[i].frames[k] = decodeFrame(code, counts)
		}
	}
	s.turn = next()
	for i := range s.E {
		c.rebuild(&s, i)
		counts[i].restore(&s.E[i].Flow)
	}
	return s
}

func decodeFrame(code, counts uint8) cwire.Frame {
	h := cwire.Frame{
		Type:         cwire.Type(code & 15),
		DataReturned: start + uint16(counts&15),
		CtrlReturned: start + uint16(counts>>4),
	}
	switch code & 15 {
	case codeFinFull:
		h.Type, h.Flags = cwire.Fin, cwire.FlagFull
	case codeFinAckFull:
		h.Type, h.Flags = cwire.FinAck, cwire.FlagFull
	case codeDoubled:
		h.Type, h.Flags = cwire.Data, cwire.FlagDoubled
	case codeDoubled + 1:
		h.Type, h.Flags = cwire.RTS, cwire.FlagDoubled
	}
	switch h.Type {
	case cwire.Credit:
		h.Arg = uint32(code >> 4)
	case cwire.Data:
		h.Length = 1
	case cwire.RTS:
		h.Length = cwire.RTSSize
	default:
	}
	return h
}

// rebuild restores what follows from the rest of side i: windows, thresholds, sequence
// numbers and the numbers of large messages.
func (c *Config) rebuild(s *State, i int) {
	f, p := &s.E[i].Flow, &s.E[1-i].Flow
	data, ctrl := c.windows(i)
	peerData, _ := c.windows(1 - i)
	f.DataWindow, f.PeerDataWindow = data+f.Added, peerData+f.PeerAdded
	f.Granted += data
	f.DataDue, f.CtrlDue = cwire.DataDueFor(f.DataWindow), cwire.CtrlDueFor(ctrl)
	if f.ToldLater() && c.Wrong != DueBeforeTold {
		f.DataDue = cwire.DataDueFor(f.Granted)
	}
	f.CtrlReserve = 1
	c.override(f, i)

	// The receiver's next sequence number and RTS number are start; the sender is ahead by
	// what is on its way. RTS not answered are the last RTSOwed at the receiver.
	p.SeqIn, f.SeqOut = start, start
	p.RTSIn, f.RTSSent = firstRTS, firstRTS
	ch := &s.Ch[i]
	for k := range ch.n {
		h := &ch.frames[k]
		h.Seq = f.SeqOut
		f.SeqOut++
		switch h.Type {
		case cwire.RTS:
			h.Arg = f.RTSSent
			f.RTSSent++
		case cwire.Ping, cwire.Pong:
			h.Arg = pingArg
		default:
		}
	}
	f.PingArg, f.PongArg = pingArg*uint32(f.PingSent), pingArg*uint32(f.PongOwed)
	// Answers of the peer's to our RTS, on their way: the oldest open one first.
	answers := &s.Ch[1-i]
	number := f.RTSSent - f.RTSOpen
	for k := range answers.n {
		if h := &answers.frames[k]; h.Type == cwire.Done || h.Type == cwire.Reset {
			h.Arg = number
			number++
		}
	}
}

const (
	pingArg  = 0xC0FFEE
	firstRTS = 0xFFFFFFFE // numbers of large messages wrap, too
)

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"sync"
	"time"

	"catmint/datapath"
	"catmint/libos"
	"catmint/tests/faults/report"
)

// Messages: a type, three bytes of nothing, a checksum, a number, and what follows from the number.
// An acknowledgement carries the checksum of all messages up to its number, so it proves that the
// peer's application has had every one of them, intact and in order.
const (
	header  = 16
	typData = 1
	typAck  = 2

	smallest = 64
	large    = 64 << 10 // bytes, far above the eager limit
	everyNth = 11       // message is a large one
)

// pattern is what messages are filled with, from an offset that their number gives.
var pattern = func() []byte {
	b := make([]byte, large+256)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}()

func sizeOf(seq uint64) int {
	if seq%everyNth == everyNth-1 {
		return large
	}
	return smallest + int(seq*97%2000)
}

func filling(seq uint64, n int) []byte {
	from := int(seq % 251)
	return pattern[from : from+n]
}

func message(seq uint64) []byte {
	b := make([]byte, sizeOf(seq))
	b[0] = typData
	binary.LittleEndian.PutUint64(b[8:], seq)
	copy(b[header:], filling(seq, len(b)-header))
	return b
}

func acknowledgement(seq uint64, sum uint32) []byte {
	b := make([]byte, header)
	b[0] = typAck
	binary.LittleEndian.PutUint32(b[4:], sum)
	binary.LittleEndian.PutUint64(b[8:], seq)
	return b
}

// How many messages may be without acknowledgement, and how many pops wait, by mode.
var depths = map[string]struct{ window, pops uint64 }{
	report.Traffic: {8, 4},
	report.Stalled: {44, 0},
	report.Idle:    {0, 2},
}

// session is one side of a connection.
type session struct {
	a    *agent
	name string
	mode string
	s    *libos.Socket

	mu        sync.Mutex
	changed   *sync.Cond
	window    uint64 // messages without acknowledgement at most
	total     uint64 // to push in all, 0: no end
	pops      uint64 // to keep outstanding
	sent      uint64
	acked     uint64
	received  uint64
	sumIn     uint32   // of all messages popped
	sumOut    uint32   // of all messages pushed
	unacked   []uint32 // sumOut after each message that is not acknowledged
	finishing bool
	closing   bool   // on purpose: what ends now has not failed
	failed    error  // the first failure
	failedOf  string // its kind
	waiting   map[string]int
	done      map[string]int
	said      time.Time // of the last progress
}

func (a *agent) newSession(name, mode string, total uint64, s *libos.Socket) *session {
	d := depths[mode]
	ss := &session{
		a: a, name: name, mode: mode, s: s, window: d.window, pops: d.pops, total: total,
		waiting: map[string]int{}, done: map[string]int{}, said: time.Now(),
	}
	if mode == report.Stalled {
		ss.total = d.window
	}
	ss.changed = sync.NewCond(&ss.mu)
	a.mu.Lock()
	a.sessions[name] = ss
	a.mu.Unlock()
	return ss
}

// greet tells the peer what this connection is for.
func (s *session) greet() {
	b, _ := json.Marshal(report.Command{Name: s.name, Mode: s.mode, N: int(s.total)}) // cannot fail
	s.mu.Lock()
	defer s.mu.Unlock()
	s.push(b)
}

func (s *session) start() {
	s.a.say(report.Event{Ev: report.Session, Conn: s.name})
	s.a.tasks.Go(s.sender)
	s.a.tasks.Go(s.popper)
	s.a.tasks.Go(s.ender)
}

// sender pushes messages for as long as it may.
func (s *session) sender() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.failed == nil && !s.closing {
		more := !s.finishing && (s.total == 0 || s.sent < s.total)
		if !more || s.sent-s.acked >= s.window {
			s.changed.Wait()
			continue
		}
		b := message(s.sent)
		s.sumOut = crc32.Update(s.sumOut, crc32.IEEETable, b)
		s.unacked = append(s.unacked, s.sumOut)
		s.sent++
		s.push(b)
		if s.mode == report.Stalled && s.sent == s.total {
			s.a.say(report.Event{Ev: report.Waiting, Conn: s.name, N: s.waiting[report.KindPushSmall] + s.waiting[report.KindPushLarge]})
		}
	}
}

// push pushes b and has its token looked after. The lock is held.
func (s *session) push(b []byte) {
	kind := report.KindPushSmall
	if len(b) >= large {
		kind = report.KindPushLarge
	}
	qt, err := s.s.Push(b)
	if err != nil {
		s.fail(kind, err, "the call")
		return
	}
	s.waiting[kind]++
	s.a.tasks.Go(func() {
		_, err := s.a.e.Wait(context.Background(), qt)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.over(kind, err)
	})
}

// over takes a token's end. The lock is held.
func (s *session) over(kind string, err error) {
	s.waiting[kind]--
	if err != nil {
		s.fail(kind, err, "")
	} else {
		s.done[kind]++
	}
	s.changed.Broadcast()
}

// fail takes a failure. The lock is held.
func (s *session) fail(kind string, err error, why string) {
	s.a.say(report.Event{Ev: report.Token, Conn: s.name, Kind: kind, Errno: errnoName(err), Why: why})
	if s.failed == nil && !s.closing {
		s.failed, s.failedOf = err, kind
	}
	s.changed.Broadcast()
}

var errEnd = errors.New("the peer has closed")

// popper keeps pops outstanding and takes what they bring, in their order.
func (s *session) popper() {
	var tokens []datapath.Token
	for {
		s.mu.Lock()
		for s.failed == nil && !s.closing && len(tokens) == 0 && s.pops == 0 {
			s.changed.Wait()
		}
		for s.failed == nil && !s.closing && len(tokens) < int(s.pops) {
			qt, err := s.s.Pop()
			if err != nil {
				s.fail(report.KindPop, err, "the call")
				break
			}
			s.waiting[report.KindPop]++
			tokens = append(tokens, qt)
		}
		s.mu.Unlock()
		if len(tokens) == 0 {
			return
		}
		r, err := s.a.e.Wait(context.Background(), tokens[0])
		tokens = tokens[1:]
		var b []byte
		if err == nil {
			b = libos.TakeBytes(&r)
		}
		s.mu.Lock()
		s.over(report.KindPop, err)
		if err == nil {
			s.take(b)
		}
		s.mu.Unlock()
	}
}

// take takes a message. The lock is held.
func (s *session) take(b []byte) {
	if len(b) == 0 {
		if !s.closing {
			s.closing = true
			s.a.say(report.Event{Ev: report.Token, Conn: s.name, Kind: report.KindPop, Errno: "", Why: errEnd.Error()})
			s.changed.Broadcast()
		}
		return
	}
	if err := s.check(b); err != nil {
		s.a.broken(fmt.Errorf("%s: %w", s.name, err))
		return
	}
	if now := time.Now(); now.Sub(s.said) >= 100*time.Millisecond {
		s.said = now
		s.counts(report.Progress)
	}
	if s.finishing && s.acked == s.sent {
		s.finishing = false
		s.total, s.window = s.sent, 0 // and never again
		s.counts(report.Finished)
	}
	s.changed.Broadcast()
}

func (s *session) counts(ev string) {
	s.a.say(report.Event{Ev: ev, Conn: s.name, Sent: s.sent, Acked: s.acked, Received: s.received})
}

// check takes a message or an acknowledgement, which must be the next one and intact.
func (s *session) check(b []byte) error {
	if len(b) < header {
		return fmt.Errorf("a message of %d bytes", len(b))
	}
	seq, sum := binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[4:])
	switch b[0] {
	case typData:
		if seq != s.received {
			return fmt.Errorf("message %d came when %d was next", seq, s.received)
		}
		if len(b) != sizeOf(seq) || !bytes.Equal(b[header:], filling(seq, len(b)-header)) {
			return fmt.Errorf("message %d, of %d bytes, is not what was sent", seq, len(b))
		}
		s.received++
		s.sumIn = crc32.Update(s.sumIn, crc32.IEEETable, b)
		if s.failed == nil && !s.closing {
			s.push(acknowledgement(seq, s.sumIn))
		}
	case typAck:
		if seq != s.acked || len(s.unacked) == 0 {
			return fmt.Errorf("acknowledgement of %d came when %d was next, of %d", seq, s.acked, s.sent)
		}
		if sum != s.unacked[0] {
			return fmt.Errorf("message %d: acknowledged with the checksum %08x, not %08x", seq, sum, s.unacked[0])
		}
		s.unacked = s.unacked[1:]
		s.acked++
	default:
		return fmt.Errorf("a message of type %d", b[0])
	}
	return nil
}

// finish pops what there is, pushes nothing more and says when all is acknowledged.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pops = max(s.pops, 4)
	if s.acked == s.sent {
		s.total, s.window = s.sent, 0
		if s.sent == 0 {
			s.total = 1 // of a window of none
		}
		s.counts(report.Finished)
	} else {
		s.finishing = true
	}
	s.changed.Broadcast()
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.changed.Broadcast()
}

// ender closes the socket when it is to be closed, or has failed and no token waits any more.
func (s *session) ender() {
	s.mu.Lock()
	for !s.closing && (s.failed == nil || s.outstanding() > 0) {
		s.changed.Wait()
	}
	if s.failed != nil {
		s.ended()
	}
	s.mu.Unlock()
	s.a.closeSocket(s.name, s.s)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.outstanding() > 0 { // those that the close has ended
		s.changed.Wait()
	}
	if s.failed == nil {
		s.ended()
	}
}

func (s *session) ended() {
	s.a.say(report.Event{
		Ev: report.Ended, Conn: s.name, Kind: s.failedOf, Errno: errnoName(s.failed),
		Sent: s.sent, Acked: s.acked, Received: s.received, Done: maps.Clone(s.done),
	})
}

func (s *session) outstanding() int {
	n := 0
	for _, k := range s.waiting {
		n += k
	}
	return n
}

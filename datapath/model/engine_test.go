package model

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"catmint/datapath/ctest"
	"catmint/datapath/internal/cwire"
)

var seedFlag = flag.Uint64("seed", 0, "drive engine and model by this seed alone")

// engine is the C engine on its simulated fabric: engine_lockstep.c says what it understands.
type engine struct {
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
	err strings.Builder
}

func startEngine(t *testing.T) *engine {
	t.Helper()
	bin := ctest.Build(t, ctest.EngineProgram(t, "datapath/ctest/testdata/engine_lockstep.c"), ctest.Address.Flags...)
	e := &engine{cmd: exec.Command(bin)}
	e.cmd.Stderr = &e.err
	in, err := e.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := e.cmd.StdoutPipe()
	require.NoError(t, err)
	e.in, e.out = in, bufio.NewReaderSize(out, 1<<20)
	require.NoError(t, e.cmd.Start())
	return e
}

// seen is what can be seen of both sides after a step.
type seen struct {
	found string // r: a receive, R: a READ, as the poll found them
	sent  [2][]cwire.Frame
	flow  [2]cwire.Flow
	// Pushes that wait, messages unread, pops that wait, and 1: pushes are held back as a burst's.
	pending, unread, waiting, held [2]int
}

func (e *engine) do(format string, args ...any) (seen, error) {
	var s seen
	if _, err := fmt.Fprintf(e.in, format+"\n", args...); err != nil {
		return s, fmt.Errorf("%w\n%s", err, e.err.String())
	}
	line, err := e.out.ReadString('\n')
	if err != nil {
		_ = e.cmd.Wait()
		return s, fmt.Errorf("the engine has ended: %w\n%s", err, e.err.String())
	}
	parts := strings.Split(line, "|")
	s.found = parts[0]
	for i := range 2 {
		p := parts[1+3*i:]
		b, err := hex.DecodeString(p[0])
		if err != nil {
			return s, err
		}
		for ; len(b) > 0; b = b[16:] {
			s.sent[i] = append(s.sent[i], cwire.Frame{
				Type: cwire.Type(b[0]), Flags: b[1], DataReturned: binary.LittleEndian.Uint16(b[2:]),
				CtrlReturned: binary.LittleEndian.Uint16(b[4:]), Seq: binary.LittleEndian.Uint16(b[6:]),
				Length: binary.LittleEndian.Uint32(b[8:]), Arg: binary.LittleEndian.Uint32(b[12:]),
			})
		}
		if b, err = hex.DecodeString(p[1]); err != nil {
			return s, err
		}
		copy((*[unsafe.Sizeof(cwire.Flow{})]byte)(unsafe.Pointer(&s.flow[i]))[:], b)
		if _, err := fmt.Sscan(p[2], &s.pending[i], &s.unread[i], &s.waiting[i], &s.held[i]); err != nil {
			return s, err
		}
	}
	return s, nil
}

// pairing drives the model beside the engine. The model is told what the engine's poll found and
// by how much it let its window grow; all else it must know by itself.
type pairing struct {
	c      Config
	s      State
	waits  [2]int  // pops that wait
	pushed [2]int  // since this side's application last waited
	held   [2]bool // pushes are held back
	sent   [2][]cwire.Frame
	log    []string

	*doublings
}

// doublings counts windows that have doubled, and of these those that were told by a CREDIT after all.
type doublings struct{ doubled, urged int }

func (p *pairing) views() *[2]cwire.View {
	return &[2]cwire.View{p.s.E[0].Flow.View(p.s.E[0].nPending > 0), p.s.E[1].Flow.View(p.s.E[1].nPending > 0)}
}

// try takes a step of the model if it is possible; a frame that it sends is remembered.
func (p *pairing) try(i int, a Action) (bool, error) {
	before := p.s.Ch[i].n
	ok, sent, err := p.c.try(&p.s, Step{i, a}, p.views())
	if ok && sent != 0 {
		p.sent[i] = append(p.sent[i], p.s.Ch[i].frames[before])
	}
	if err == nil && ok {
		err = p.c.checkShape(&p.s)
	}
	return ok, err
}

// settle lets side i do at once what an engine does: pops take what has come, receives are posted
// again, the window grows as it has in s, then it sends all that it may, messages first. ctrl: a
// control frame has come.
func (p *pairing) settle(i int, s *seen, ctrl bool) error {
	e := &p.s.E[i]
	list := int(cwire.DataListFor(e.Flow.Granted))
	for p.waits[i] > 0 {
		if e.nQueue == 0 && e.Flow.PeerFin != cwire.Open {
			p.waits[i]-- // the end
			continue
		}
		ok, err := p.try(i, Pop)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		p.waits[i]--
	}
	// Receives go back in lists, or all with those of control frames.
	for ; e.kept >= list; e.kept -= list {
		for range list {
			e.Flow.ReturnData()
		}
	}
	if ctrl {
		e.returnKept()
	}
	later := s.flow[i].ToldLater() || slices.ContainsFunc(s.sent[i], doubled)
	if later && !e.Flow.ToldLater() {
		if ok, err := p.try(i, Double); !ok || err != nil {
			return fmt.Errorf("the window of side %d doubles when it must not: %w", i, err)
		}
		p.doubled++
	} else if !later && e.Flow.ToldLater() && e.Flow.Added == s.flow[i].Added {
		if ok, err := p.try(i, TellNow); !ok || err != nil {
			return fmt.Errorf("side %d tells: %w", i, err)
		}
		p.urged++
	}
	for e.Flow.Added != s.flow[i].Added {
		if ok, err := p.try(i, Grow); !ok || err != nil {
			return fmt.Errorf("the window of side %d grows when it must not: %w", i, err)
		}
	}
	p.held[i] = s.held[i] != 0
	if p.held[i] {
		// A burst waits for more pushes, at most until somebody polls.
		if p.pushed[i] <= 3 {
			return fmt.Errorf("side %d holds back a push, the %dth since it waited", i, p.pushed[i])
		}
		return nil
	}
	for {
		ok, err := p.try(i, SendData)
		if !ok && err == nil {
			ok, err = p.try(i, SendCtrl)
		}
		if !ok || err != nil {
			return err
		}
	}
}

// found takes in what the engine's poll of side i has found.
func (p *pairing) found(i int, s *seen) error {
	var ctrl bool
	for _, k := range s.found {
		a := Deliver
		if k == 'R' {
			a = Read
		}
		returned := p.s.E[i].Flow.CtrlReturned
		ok, err := p.try(i, a)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("the engine has found %q on side %d, and there is no such thing", k, i)
		}
		ctrl = ctrl || p.s.E[i].Flow.CtrlReturned != returned
	}
	return p.settle(i, s, ctrl)
}

func doubled(h cwire.Frame) bool { return h.Type.IsData() && h.Flags&cwire.FlagDoubled != 0 }

// agree compares everything that can be seen.
func (p *pairing) agree(s *seen) error {
	for i := range 2 {
		e := &p.s.E[i]
		if s.pending[i] != e.nPending || s.unread[i] != e.nQueue || s.waiting[i] != p.waits[i] {
			return fmt.Errorf("side %d has %d pushes waiting, %d messages unread and %d pops waiting; model: %d, %d, %d",
				i, s.pending[i], s.unread[i], s.waiting[i], e.nPending, e.nQueue, p.waits[i])
		}
		if len(s.sent[i]) != len(p.sent[i]) {
			return fmt.Errorf("side %d has sent\nengine %v\nmodel  %v", i, s.sent[i], p.sent[i])
		}
		for k := range s.sent[i] {
			got, want := s.sent[i][k], p.sent[i][k]
			if want.Type == cwire.Data {
				want.Length = got.Length
			}
			if want.Type.IsData() {
				want.Flags |= got.Flags & cwire.FlagWaited // a hint: it waited for credit
			}
			if want.Type == cwire.Ping || want.Type == cwire.Pong {
				want.Arg = got.Arg
			}
			if got != want {
				return fmt.Errorf("frame %d of side %d\nengine %+v\nmodel  %+v", k, i, got, want)
			}
		}
		p.sent[i] = nil
		// What a PING says, and whether a message waited, is the engine's business.
		s.flow[i].TypeOut &^= cwire.FlagWaited << 8
		s.flow[i].PingArg, s.flow[i].PongArg = e.Flow.PingArg, e.Flow.PongArg
		if s.flow[i] != e.Flow {
			return fmt.Errorf("side %d\nengine %+v\nmodel  %+v", i, s.flow[i], e.Flow)
		}
	}
	return nil
}

// life is one random connection, the same on both.
func life(e *engine, seed uint64, steps int, all *doublings) (err error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	data, ctrl := 1+rng.IntN(8), 4+rng.IntN(3)
	most := max(data, rng.IntN(maxQueue+1))
	p := &pairing{doublings: all, c: Config{
		DataWindow: data, CtrlWindow: ctrl, Pushes: [2]int{maxPending, maxPending}, Sizes: [2]Sizes{Mixed, Mixed},
		Closes: [2]CloseKind{ClosesAnyhow, ClosesAnyhow}, Pings: [2]bool{true, true},
		Grows: [2]int{most - data, most - data}, Doubles: [2]Doubling{DoublesAnyhow, DoublesAnyhow}, Doubled: most - data,
		Prefetch: true, Keeps: true,
	}}
	if p.s, err = newState(&p.c); err != nil {
		return err
	}
	base := uint16(start)
	for i := range p.s.E {
		f := &p.s.E[i].Flow
		for _, count := range []*uint16{
			&f.DataReturned, &f.CtrlReturned, &f.SeqOut, &f.DataAcked, &f.CtrlAcked, &f.SeqIn,
		} {
			*count = base
		}
	}
	do := func(format string, args ...any) (seen, error) {
		p.log = append(p.log, fmt.Sprintf(format, args...))
		return e.do(format, args...)
	}
	defer func() {
		if err != nil {
			from := max(0, len(p.log)-30)
			err = fmt.Errorf("%w\nafter %d steps, the last of them:\n%s\n%s", err, len(p.log), strings.Join(p.log[from:], "\n"), p.s.String())
		}
	}()
	s, err := do("W %d %d %d %d %d", data, most, ctrl, 128*rng.IntN(2), base)
	if err == nil {
		err = p.agree(&s)
	}
	closing := rng.IntN(3) > 0
	for n := 0; n < steps && err == nil; n++ {
		err = p.step(rng, do, closing && n > steps/2)
	}
	return err
}

// step takes one step, which may be none: what it would be is not possible now.
func (p *pairing) step(rng *rand.Rand, do func(string, ...any) (seen, error), closing bool) error {
	i := rng.IntN(2)
	e := &p.s.E[i]
	poll := func(how string, most int) error {
		s, err := do("%s %d %d", how, i, most)
		if err == nil && s.held[i] != 0 {
			err = fmt.Errorf("side %d holds pushes back when it has polled", i)
		}
		if how == "F" {
			p.pushed[i] = 0
		}
		if err == nil {
			err = p.found(i, &s)
		}
		if err == nil {
			err = p.agree(&s)
		}
		return err
	}
	// act takes a step of the application, in the model and then in the engine.
	act := func(a Action, format string, args ...any) error {
		ok, err := p.try(i, a)
		if !ok || err != nil {
			return err
		}
		if a == PushEager || a == PushLarge {
			p.pushed[i]++
		}
		s, err := do(format, args...)
		if err == nil {
			err = p.settle(i, &s, false)
		}
		if err == nil {
			err = p.agree(&s)
		}
		return err
	}
	most := 32
	if rng.IntN(2) == 0 {
		most = 1 + rng.IntN(4)
	}
	switch die := rng.IntN(100); {
	case die < 22:
		return act(PushEager, "P %d %d", i, 1+rng.IntN(1000))
	case die < 28:
		return act(PushLarge, "P %d %d", i, 2000+rng.IntN(1000))
	case die < 58:
		if e.Flow.FinWant == cwire.Full || p.waits[i] > 3 {
			return nil
		}
		p.waits[i]++
		s, err := do("Q %d", i)
		if err == nil {
			err = p.settle(i, &s, false)
		}
		if err == nil {
			err = p.agree(&s)
		}
		return err
	case die < 63 && !p.held[i]: // it would wait, too
		return act(SendPing, "K %d", i)
	case die < 65 && closing:
		return act(CloseHalf, "C %d 1", i)
	case die < 67 && closing && e.Flow.FinWant != cwire.Full:
		// A READ under way is waited for before its message is refused: the model has none.
		for countLarge(e) > 0 {
			if err := poll("D", 32); err != nil {
				return err
			}
		}
		p.waits[i] = 0
		return act(CloseFull, "C %d 2", i)
	case die < 85 && p.waits[i] > 0:
		return poll("F", most)
	default:
		return poll("D", most)
	}
}

// The engine calls the rules that the model explores; whether it calls them at the right places,
// in the right order, and keeps the accounts as the model does is what this test asks: by the same
// random schedule for both, everything that can be seen must agree after each step.
func TestTheEngineDoesAsTheModelDoes(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	lives, steps := uint64(60), 300
	if os.Getenv("CATMINT_LONG") != "" {
		lives, steps = 1000, 2000
	}
	first, seen := uint64(1), doublings{}
	if *seedFlag != 0 {
		first, lives = *seedFlag, 1
	}
	for seed := first; seed < first+lives; seed++ {
		err := life(e, seed, steps, &seen)
		if err != nil {
			t.Fatalf("seed %d: %v\n(go test ./datapath/model -run TheEngineDoes -seed %d)", seed, err, seed)
		}
	}
	if *seedFlag == 0 {
		t.Logf("%+v", seen)
		require.NotZero(t, seen.doubled)
		require.NotZero(t, seen.urged)
	}
	require.NoError(t, e.in.Close())
	require.NoError(t, e.cmd.Wait(), e.err.String())
}

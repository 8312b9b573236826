// Agent is the program under test of the fault tests: it keeps tokens of every kind outstanding
// over libos, as it is told on standard input, and tells on standard output what becomes of each.
// Package report has the words.
//
// What lives here: what runs on a Soft-RoCE host. What must not: the harm, and the judgement.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"catmint/libos"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/tests/faults/report"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// agent is one libOS and what it has been told to do.
type agent struct {
	fabric *rdma.Hardware
	p      *libos.Process
	e      *libos.Engine

	outMu sync.Mutex
	out   *json.Encoder

	mu       sync.Mutex
	sessions map[string]*session
	listener *libos.Socket
	mutes    []*mute
	tasks    sync.WaitGroup
}

func run(in io.Reader, out io.Writer) error {
	cfg, err := libos.ConfigFromEnv(os.Getenv)
	if err != nil {
		return err
	}
	a := &agent{fabric: rdma.NewHardware(), out: json.NewEncoder(out), sessions: map[string]*session{}}
	if a.p, err = libos.New(cfg, a.fabric); err != nil {
		return err
	}
	if a.e, err = a.p.NewEngine(); err != nil {
		return err
	}
	a.say(report.Event{Ev: report.Ready})
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c report.Command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("command %q: %w", lines.Text(), err)
		}
		if c.Do == report.Exit {
			return a.exit()
		}
		if err := a.do(c); err != nil {
			a.broken(fmt.Errorf("%s: %w", c.Do, err))
		}
	}
	return lines.Err()
}

func (a *agent) say(ev report.Event) {
	a.outMu.Lock()
	defer a.outMu.Unlock()
	_ = a.out.Encode(ev) // who does not listen any more has ended the test
}

func (a *agent) broken(err error) { a.say(report.Event{Ev: report.Broken, Why: err.Error()}) }

func (a *agent) do(c report.Command) error {
	switch c.Do {
	case report.Listen:
		return a.listen(c)
	case report.Accept:
		for range c.N {
			a.accept()
		}
		a.say(report.Event{Ev: report.Waiting, Kind: report.KindAccept, N: c.N})
		return nil
	case report.Unlisten:
		return a.unlisten()
	case report.Mute:
		return a.mute(c.Addr)
	case report.Forget:
		for _, m := range a.mutes {
			m.forget <- struct{}{}
		}
		return nil
	case report.Connect:
		return a.connect(c)
	case report.Finish, report.Close:
		a.mu.Lock()
		s := a.sessions[c.Name]
		a.mu.Unlock()
		if s == nil {
			return fmt.Errorf("there is no connection %q", c.Name)
		}
		if c.Do == report.Finish {
			s.finish()
		} else {
			s.close()
		}
		return nil
	case report.HalfOpen:
		return a.halfOpen(c)
	case report.Stock:
		a.say(report.Event{Ev: report.Objects, Objects: a.objects()})
		return nil
	case report.Count:
		a.say(report.Event{Ev: report.Counters, Counters: a.counters()})
		return nil
	default:
		return fmt.Errorf("what is %q?", c.Do)
	}
}

// objects are the RDMA objects that this process has open, and what libos could not destroy.
func (a *agent) objects() map[string]int {
	open := rdmatest.Counts()
	if n := a.p.Stats().Leaks; n != 0 {
		open["leak"] = int(n)
	}
	return open
}

// counters are the hardware counters of the devices used, as libos's statistics show them.
func (a *agent) counters() map[string]uint64 {
	all := map[string]uint64{}
	for _, d := range a.p.DeviceCounters() {
		for name, n := range d.Counters {
			all[name] += n
		}
	}
	return all
}

// errnoName is how a token ended, "" for well.
func errnoName(err error) string {
	if err == nil {
		return ""
	}
	var e syscall.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (a *agent) listen(c report.Command) error {
	at, err := netip.ParseAddrPort(c.Addr)
	if err != nil {
		return err
	}
	s, err := a.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := s.Bind(at); err != nil {
		return err
	}
	gate := func(r libos.GateRequest) libos.Verdict {
		a.say(report.Event{Ev: report.Request, Conn: r.Peer.String(), Why: text(r.Hello)})
		return libos.Verdict{}
	}
	if err := s.SetGate(gate); err != nil {
		return err
	}
	if err := s.Listen(c.N); err != nil {
		return err
	}
	a.listener = s
	a.say(report.Event{Ev: report.Listening})
	return nil
}

// accept keeps one accept outstanding until one fails.
func (a *agent) accept() {
	l := a.listener
	a.tasks.Go(func() {
		for {
			qt, err := l.Accept()
			if err != nil {
				a.say(report.Event{Ev: report.Token, Kind: report.KindAccept, Errno: errnoName(err), Why: "the call"})
				return
			}
			r, err := a.e.Wait(context.Background(), qt)
			if err != nil {
				a.say(report.Event{Ev: report.Token, Kind: report.KindAccept, Errno: errnoName(err)})
				return
			}
			s, err := a.p.Socket(r.Accept().QD)
			if err != nil {
				a.broken(err)
				return
			}
			a.tasks.Go(func() { a.serve(s) })
		}
	})
}

func (a *agent) unlisten() error {
	qt, err := a.listener.CloseAsync()
	if err != nil {
		return err
	}
	a.tasks.Go(func() {
		_, err := a.e.Wait(context.Background(), qt)
		a.say(report.Event{Ev: report.Token, Conn: "listener", Kind: report.KindClose, Errno: errnoName(err)})
	})
	return nil
}

// connect connects, and lives by the mode of the command.
func (a *agent) connect(c report.Command) error {
	to, err := netip.ParseAddrPort(c.Addr)
	if err != nil {
		return err
	}
	s, err := a.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	qt, err := s.Connect(to)
	if err != nil {
		return err
	}
	a.tasks.Go(func() {
		_, err := a.e.Wait(context.Background(), qt)
		why := ""
		if ce := s.Err(); ce != nil {
			why = ce.Error()
		}
		a.say(report.Event{Ev: report.Token, Conn: c.Name, Kind: report.KindConnect, Errno: errnoName(err), Why: why})
		if err != nil {
			a.closeSocket(c.Name, s)
			return
		}
		ss := a.newSession(c.Name, c.Mode, uint64(c.N), s)
		ss.greet()
		ss.start()
	})
	return nil
}

// serve learns from the first message what an accepted connection is for.
func (a *agent) serve(s *libos.Socket) {
	fail := func(err error) {
		a.say(report.Event{Ev: report.Token, Conn: "unnamed", Kind: report.KindPop, Errno: errnoName(err)})
		a.closeSocket("unnamed", s)
	}
	qt, err := s.Pop()
	if err != nil {
		fail(err)
		return
	}
	r, err := a.e.Wait(context.Background(), qt)
	if err != nil {
		fail(err)
		return
	}
	var c report.Command
	if err := json.Unmarshal(libos.TakeBytes(&r), &c); err != nil {
		fail(err)
		return
	}
	a.newSession(c.Name, c.Mode, uint64(c.N), s).start()
}

// closeSocket closes, and says when that is done.
func (a *agent) closeSocket(name string, s *libos.Socket) {
	qt, err := s.CloseAsync()
	if err == nil {
		_, err = a.e.Wait(context.Background(), qt)
	}
	a.say(report.Event{Ev: report.Token, Conn: name, Kind: report.KindClose, Errno: errnoName(err)})
	a.say(report.Event{Ev: report.Closed, Conn: name})
}

// exit closes everything in order.
func (a *agent) exit() error {
	var errs []error
	for _, m := range a.mutes {
		m.stop()
	}
	a.mu.Lock()
	for _, s := range a.sessions {
		s.close()
	}
	a.mu.Unlock()
	errs = append(errs, a.p.Close())
	a.tasks.Wait()
	errs = append(errs, a.fabric.Close())
	a.say(report.Event{Ev: report.Bye, Objects: a.objects()})
	return errors.Join(errs...)
}

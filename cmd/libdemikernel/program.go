package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"catmint/cmd/libdemikernel/guard"
	"catmint/datapath"
	"catmint/internal/background"
	"catmint/libos"
	"catmint/rdma"
)

// deliverGrace is the time beyond the linger time that the end of a program may take. It is
// spent only when something is stuck, such as an engine's lock held by the very thread whose
// signal handler called exit.
const deliverGrace = 2 * time.Second

// programState is what the one C program has in this library.
type programState struct {
	guard  guard.Guard
	stderr io.Writer
	fabric func(getenv func(string) string) (rdma.Fabric, error)
	// environ is the environment as os.Environ has it, for what is misspelt in it.
	environ func() []string

	mu      sync.RWMutex
	process *libos.Process
	linger  time.Duration // the longest of any socket so far

	served atomic.Pointer[libos.Process] // process, for abort: who panics may hold mu
}

// program serves the C program that has loaded this library.
var program = programState{
	guard: guard.Guard{Report: os.Stderr}, stderr: os.Stderr, fabric: newFabric,
	environ: environ,
}

// A panic, wherever it is, ends in the guard and never in the C program.
func init() {
	program.guard.Broke = program.abort
	background.OnPanic(program.guard.Panicked)
}

// abort fails all that is under way with EIO.
func (p *programState) abort() {
	if process := p.served.Load(); process != nil {
		process.Abort(syscall.EIO)
	}
}

// newEngine makes an engine for a thread, and the process with the first one, configured by
// getenv. What is wrong is said on stderr, too: an errno alone cannot name a variable.
func (p *programState) newEngine(getenv func(string) string) (*libos.Engine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, err := p.tryEngine(getenv)
	if err != nil && !p.guard.Broken() { // of a panic one line has been said
		text := err.Error()
		if advice := rdma.Hint(err); advice != "" {
			text += ": " + advice
		}
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "catmint: ") {
				line = "catmint: demi_init: " + line
			}
			fmt.Fprintln(p.stderr, line)
		}
	}
	return e, err
}

func (p *programState) tryEngine(getenv func(string) string) (*libos.Engine, error) {
	if p.process == nil {
		libos.WarnUnknownVariables(p.stderr, p.environ(), testVariables...)
		cfg, err := libos.ConfigFromEnv(getenv)
		if err != nil {
			return nil, err
		}
		p.guard.Stack.Store(strings.EqualFold(getenv("DEMI_LOG"), "debug"))
		fabric, err := p.fabric(getenv)
		if err != nil {
			return nil, err
		}
		process, err := libos.New(cfg, fabric)
		if err != nil {
			return nil, err
		}
		e, err := process.NewEngine()
		if err != nil {
			return nil, errors.Join(err, process.Close()) // the next call may have a better environment
		}
		p.process, p.linger = process, cfg.Linger
		p.served.Store(process)
		return e, nil
	}
	return p.process.NewEngine()
}

func (p *programState) current() (*libos.Process, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.process == nil {
		return nil, syscall.ENOSYS
	}
	return p.process, nil
}

func (p *programState) engine(dp *datapath.Engine) (*libos.Engine, error) {
	process, err := p.current()
	if err != nil {
		return nil, err
	}
	e := process.EngineOf(dp)
	if e == nil {
		return nil, syscall.ENOSYS
	}
	return e, nil
}

func (p *programState) socket(qd int32) (*libos.Socket, error) {
	process, err := p.current()
	if err != nil {
		return nil, err
	}
	return process.Socket(qd)
}

// noteLinger remembers the longest linger time, by which deliver is bounded.
func (p *programState) noteLinger(s *libos.Socket) {
	v, err := s.GetOption(unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil || len(v) != 8 || binary.NativeEndian.Uint32(v) == 0 {
		return
	}
	d := time.Duration(binary.NativeEndian.Uint32(v[4:])) * time.Second
	p.mu.Lock()
	p.linger = max(p.linger, d)
	p.mu.Unlock()
}

// progress is what peers have taken so far, 0 if nobody answers.
func progress(process *libos.Process) uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), deliverGrace)
	defer cancel()
	return process.Progress(ctx)
}

// deliver closes every open socket at the end of the program, as long as peers go on taking
// what was pushed, and gives up a little after the linger time without any progress, whatever
// is stuck.
func (p *programState) deliver() {
	process, err := p.current()
	if err != nil {
		return
	}
	p.mu.RLock()
	patience := p.linger + deliverGrace
	p.mu.RUnlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := background.Go("delivery", func() {
		background.Checkpoint("delivery")
		process.CloseAll(ctx)
	})
	for last := uint64(0); ; {
		select {
		case <-done:
			return
		case <-time.After(patience):
		}
		if now := progress(process); now != last {
			last = now
		} else {
			return
		}
	}
}

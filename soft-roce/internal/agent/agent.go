package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"catmint/soft-roce/internal/wire"
)

// outputGrace is how long output is still collected after a command has ended while some process
// that it left behind holds its output open.
const outputGrace = 500 * time.Millisecond

// Agent runs commands for a host.
type Agent struct {
	out *wire.Writer
	in  io.Reader
	env []string // added to the environment of every command

	reaper *Reaper // nil unless this process is PID 1

	mu   sync.Mutex
	runs map[uint32]*run
	wg   sync.WaitGroup
}

type run struct {
	pid   int
	stdin *stdinQueue
	tty   *os.File
}

// New returns an agent that reads frames from in and answers on out. Each command gets env in
// addition to its own environment. A reaper is needed only in PID 1.
func New(in io.Reader, out *wire.Writer, env []string, reaper *Reaper) *Agent {
	return &Agent{in: in, out: out, env: env, reaper: reaper, runs: make(map[uint32]*run)}
}

// Serve carries requests out until the host asks to power off (nil), or the stream ends or breaks
// (an error). Commands that still run then are killed, and Serve returns after they are gone.
func (a *Agent) Serve() error {
	defer a.wg.Wait()
	defer a.killAll()
	for {
		f, err := wire.ReadFrame(a.in)
		if err != nil {
			return fmt.Errorf("agent: connection to the host: %w", err)
		}
		if f.Type == wire.TypePowerOff {
			return nil
		}
		if err := a.handle(f); err != nil {
			return err
		}
	}
}

func (a *Agent) handle(f wire.Frame) error {
	switch f.Type {
	case wire.TypeExec:
		var e wire.Exec
		if err := f.Decode(&e); err != nil {
			return err
		}
		return a.start(f.Stream, e)
	case wire.TypeStdin:
		if r := a.run(f.Stream); r != nil && r.stdin != nil {
			r.stdin.put(f.Payload)
		}
	case wire.TypeSignal:
		var s wire.Signal
		if err := f.Decode(&s); err != nil {
			return err
		}
		a.signal(f.Stream, unix.Signal(s.Number))
	case wire.TypeResize:
		var w wire.WindowSize
		if err := f.Decode(&w); err != nil {
			return err
		}
		if r := a.run(f.Stream); r != nil && r.tty != nil {
			return setWindowSize(r.tty, w)
		}
	default:
		return fmt.Errorf("agent: unexpected frame type %d", f.Type)
	}
	return nil
}

func (a *Agent) run(stream uint32) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[stream]
}

func (a *Agent) signal(stream uint32, sig unix.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Under the lock, so that the process cannot be reaped, and its number reused, in between.
	if r := a.runs[stream]; r != nil {
		_ = unix.Kill(-r.pid, sig)
	}
}

func (a *Agent) killAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.runs {
		_ = unix.Kill(-r.pid, unix.SIGKILL)
		if r.stdin != nil {
			r.stdin.put(nil)
		}
	}
}

// start begins a command. Only failures of the connection are errors: what is wrong with the
// command itself is told to the host in an Exit frame.
func (a *Agent) start(stream uint32, e wire.Exec) error {
	if a.run(stream) != nil {
		return a.exit(stream, wire.Exit{Error: fmt.Sprintf("stream %d is in use", stream)})
	}
	cmd, err := a.command(e)
	if err != nil {
		return a.exit(stream, wire.Exit{Error: err.Error(), NotFound: isNotFound(err)})
	}
	r := &run{}
	var after []io.Closer // ends of pipes and terminals that belong to the child alone
	switch {
	case e.TTY != nil:
		master, slave, err := openTTY(*e.TTY)
		if err != nil {
			return a.exit(stream, wire.Exit{Error: err.Error()})
		}
		r.tty, after = master, append(after, slave)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		r.stdin = newStdinQueue(nopCloser{master})
	default:
		cmd.Stdout = a.out.Stream(wire.TypeStdout, stream)
		cmd.Stderr = a.out.Stream(wire.TypeStderr, stream)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if e.Stdin {
			pipe, err := cmd.StdinPipe()
			if err != nil {
				return a.exit(stream, wire.Exit{Error: err.Error()})
			}
			r.stdin = newStdinQueue(pipe)
		}
	}
	err = a.reaper.start(cmd, func() {
		r.pid = cmd.Process.Pid
		a.mu.Lock()
		a.runs[stream] = r
		a.mu.Unlock()
	})
	for _, c := range after {
		_ = c.Close()
	}
	if err != nil {
		if r.stdin != nil {
			r.stdin.put(nil)
		}
		if r.tty != nil {
			_ = r.tty.Close()
		}
		return a.exit(stream, wire.Exit{Error: err.Error(), NotFound: isNotFound(err)})
	}
	a.wg.Go(func() { a.finish(stream, r, cmd) })
	return nil
}

// finish waits for a command's end and for the rest of its output, then reports.
func (a *Agent) finish(stream uint32, r *run, cmd *exec.Cmd) {
	ttyDone := make(chan struct{})
	if r.tty != nil {
		go func() {
			defer close(ttyDone)
			// Reading from a terminal whose last user is gone fails with EIO: that is its end.
			_, _ = io.Copy(a.out.Stream(wire.TypeStdout, stream), r.tty)
		}()
	} else {
		close(ttyDone)
	}
	err := cmd.Wait()
	a.mu.Lock()
	delete(a.runs, stream)
	a.mu.Unlock()
	a.reaper.ended(r.pid)
	if r.stdin != nil {
		r.stdin.put(nil)
	}
	select {
	case <-ttyDone:
	case <-time.After(outputGrace):
	}
	if r.tty != nil {
		_ = r.tty.Close()
	}
	// The connection may be gone; then there is nobody to tell.
	_ = a.exit(stream, exitOf(cmd, err))
}

func (a *Agent) exit(stream uint32, e wire.Exit) error {
	return a.out.SendJSON(wire.TypeExit, stream, e)
}

func (a *Agent) command(e wire.Exec) (*exec.Cmd, error) {
	if len(e.Args) == 0 {
		return nil, errors.New("no command")
	}
	if info, err := os.Stat(e.Dir); err != nil {
		return nil, fmt.Errorf("working folder: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("working folder: %s is not a folder", e.Dir)
	}
	env := slices.Concat(e.Env, a.env, []string{"PWD=" + e.Dir})
	path, err := lookPath(e.Args[0], e.Dir, env)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: path, Args: e.Args, Dir: e.Dir, Env: env, WaitDelay: outputGrace}
	return cmd, nil
}

// exitOf turns what Wait returned into what the host is told.
func exitOf(cmd *exec.Cmd, err error) wire.Exit {
	state := cmd.ProcessState
	if state == nil {
		return wire.Exit{Error: fmt.Sprint(err)}
	}
	// Wait's own complaints about output that was cut off do not change how the command ended.
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return wire.Exit{Signal: int(ws.Signal())}
	}
	return wire.Exit{Code: state.ExitCode()}
}

func isNotFound(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound)
}

package testbed

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"

	"catmint/soft-roce/internal/wire"
)

// Command is what to run on a host.
type Command struct {
	Args []string // program and arguments; no shell is involved
	Dir  string   // working folder; "" is the caller's
	Env  []string // added to the caller's environment, KEY=value

	Stdin  io.Reader // nil is empty
	Stdout io.Writer // nil discards
	Stderr io.Writer // nil discards

	// TTY gives the command a terminal of that size instead of pipes; everything it writes then
	// arrives in Stdout.
	TTY *wire.WindowSize
}

// Process is a command that was started on a host.
type Process struct {
	host   *Host
	stream uint32
	stdout io.Writer
	stderr io.Writer

	done chan struct{}
	exit wire.Exit
	err  error
}

// Start starts a command. That the program does not exist is reported by Wait, as exit status 127.
func (h *Host) Start(c Command) (*Process, error) {
	dir := c.Dir
	if dir == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return nil, err
		}
	}
	p := &Process{
		host: h, stdout: orDiscard(c.Stdout), stderr: orDiscard(c.Stderr),
		done: make(chan struct{}),
	}
	h.mu.Lock()
	if h.isDown {
		h.mu.Unlock()
		return nil, fmt.Errorf("run %q on host %s: %w", c.Args, h.Name, ErrHostDown)
	}
	h.next++
	p.stream = h.next
	h.procs[p.stream] = p
	h.mu.Unlock()

	request := wire.Exec{
		Args: c.Args, Dir: dir, Env: append(os.Environ(), c.Env...),
		Stdin: c.Stdin != nil, TTY: c.TTY,
	}
	if err := h.out.SendJSON(wire.TypeExec, p.stream, request); err != nil {
		h.mu.Lock()
		delete(h.procs, p.stream)
		h.mu.Unlock()
		return nil, fmt.Errorf("run %q on host %s: %w", c.Args, h.Name, err)
	}
	if c.Stdin != nil {
		go p.feed(c.Stdin)
	}
	return p, nil
}

// Run starts a command and waits for its end; when ctx is over first, the command is killed. See
// Wait for the results.
func (h *Host) Run(ctx context.Context, c Command) (status int, err error) {
	p, err := h.Start(c)
	if err != nil {
		return 0, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = p.Signal(syscall.SIGKILL)
		return 0, context.Cause(ctx)
	}
	return p.Wait()
}

// feed sends the command its input. It ends with the input, or when the host is gone.
func (p *Process) feed(r io.Reader) {
	_, _ = io.Copy(p.host.out.Stream(wire.TypeStdin, p.stream), r)
	_ = p.host.out.Send(wire.TypeStdin, p.stream, nil)
}

func (p *Process) take(f wire.Frame) error {
	switch f.Type {
	case wire.TypeStdout:
		_, _ = p.stdout.Write(f.Payload)
	case wire.TypeStderr:
		_, _ = p.stderr.Write(f.Payload)
	default:
		if err := f.Decode(&p.exit); err != nil {
			p.err = err
		}
		close(p.done)
	}
	return nil
}

func (p *Process) lost() {
	p.err = fmt.Errorf("host %s: %w", p.host.Name, ErrHostDown)
	close(p.done)
}

// Done is closed when the command has ended and all of its output has been written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the command's end and returns its exit status as a shell would tell it: 128 plus
// the signal's number for one that a signal ended, 127 for one that does not exist, 126 for one
// that could not be started. The error is ErrHostDown if the host stopped running first.
func (p *Process) Wait() (status int, err error) {
	<-p.done
	if p.err != nil {
		return 0, p.err
	}
	return p.exit.Status(), nil
}

// Reason returns why the command could not be started, "" if it was.
func (p *Process) Reason() string {
	<-p.done
	return p.exit.Error
}

// Signal sends a signal to the command and to the processes that it has started.
func (p *Process) Signal(sig syscall.Signal) error {
	return p.host.out.SendJSON(wire.TypeSignal, p.stream, wire.Signal{Number: int(sig)})
}

// Resize tells a command with a terminal the terminal's new size.
func (p *Process) Resize(size wire.WindowSize) error {
	return p.host.out.SendJSON(wire.TypeResize, p.stream, size)
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

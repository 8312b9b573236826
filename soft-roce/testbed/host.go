package testbed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"catmint/soft-roce/internal/qemu"
	"catmint/soft-roce/internal/wire"
)

// ErrHostDown reports that a host is not running any more: it was switched off, crashed, or the
// bed was closed.
var ErrHostDown = errors.New("host is down")

// Host is one running Soft-RoCE host. Its methods may be called from any goroutine.
type Host struct {
	Name string // "a" or "b"

	machine *qemu.Machine
	modules string
	out     *wire.Writer

	hello chan struct{} // closed when the guest has said so
	ready chan struct{} // closed when info is valid, or failed
	info  wire.Ready
	fail  error         // why set-up failed
	down  chan struct{} // closed when the connection to the guest is over
	wrong error         // what was wrong with the guest's last frame; valid once down is closed

	mu     sync.Mutex
	next   uint32
	procs  map[uint32]*Process
	isDown bool
}

func newHost(name string, m *qemu.Machine, modules string, writable []string, plan wire.Net) *Host {
	h := &Host{
		Name: name, machine: m, modules: modules, out: wire.NewWriter(m.Port),
		hello: make(chan struct{}), ready: make(chan struct{}), down: make(chan struct{}),
		procs: make(map[uint32]*Process),
	}
	go h.serve(wire.Boot{Host: name, Net: plan, Writable: writable})
	return h
}

// deadError reports a guest that crashed or fell silent while it booted, as opposed to one that
// found something wrong.
type deadError struct{ cause error }

func (e *deadError) Error() string { return e.cause.Error() }
func (e *deadError) Unwrap() error { return e.cause }

// BootError reports a host that did not become ready, with what its console showed.
type BootError struct {
	Host    string
	Console string
	Err     error
}

func (e *BootError) Error() string {
	return fmt.Sprintf("host %s did not boot: %v", e.Host, e.Err)
}

func (e *BootError) Unwrap() error { return e.Err }

// waitReady waits for the end of the set-up, and for a sign of life no longer than limit.
func (h *Host) waitReady(ctx context.Context, limit time.Duration) error {
	var err error
	silence := time.NewTimer(limit)
	defer silence.Stop()
	select {
	case <-h.hello:
	case <-h.down:
		err = h.endedEarly()
	case <-silence.C:
		err = &deadError{fmt.Errorf("no sign of life after %v", limit)}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err == nil {
		select {
		case <-h.ready:
			err = h.fail
		case <-h.down:
			err = h.endedEarly()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err == nil {
		return nil
	}
	return &BootError{Host: h.Name, Console: h.Console(), Err: err}
}

// endedEarly says why a host that went down before it was ready did so: by its own word, if it gave
// one.
func (h *Host) endedEarly() error {
	select {
	case <-h.ready:
		if h.fail != nil {
			return h.fail
		}
	default:
	}
	return &deadError{fmt.Errorf("it ended early: %w", h.whyDown())}
}

// whyDown says why a host that is down is so. It is called after h.down was closed.
func (h *Host) whyDown() error {
	if h.wrong != nil {
		return h.wrong
	}
	select {
	case <-h.machine.Done():
		if err := h.machine.Err(); err != nil {
			return err
		}
		return ErrHostDown
	case <-time.After(powerOffGrace):
		return ErrHostDown
	}
}

// serve reads what the guest sends, until it is gone.
func (h *Host) serve(boot wire.Boot) {
	defer h.lost()
	for {
		f, err := wire.ReadFrame(h.machine.Port)
		if err == nil {
			err = h.handle(f, boot)
		} else if !errors.Is(err, wire.ErrBadHeader) && !errors.Is(err, wire.ErrTooLong) {
			return
		}
		if err != nil {
			// Whatever that is, it is not our guest any more.
			h.wrong = err
			h.machine.Stop()
			return
		}
	}
}

func (h *Host) handle(f wire.Frame, boot wire.Boot) error {
	switch f.Type {
	case wire.TypeHello:
		close(h.hello)
		return h.out.SendJSON(wire.TypeBoot, 0, boot)
	case wire.TypeReady:
		err := f.Decode(&h.info)
		h.fail = err
		close(h.ready)
		return err
	case wire.TypeFailed:
		h.fail = errors.New(string(f.Payload))
		close(h.ready)
	case wire.TypeStdout, wire.TypeStderr, wire.TypeExit:
		h.mu.Lock()
		p := h.procs[f.Stream]
		if f.Type == wire.TypeExit {
			delete(h.procs, f.Stream)
		}
		h.mu.Unlock()
		if p == nil {
			return nil
		}
		return p.take(f)
	default:
		return fmt.Errorf("unexpected frame type %d", f.Type)
	}
	return nil
}

// lost ends what depends on the connection.
func (h *Host) lost() {
	h.mu.Lock()
	h.isDown = true
	procs := h.procs
	h.procs = nil
	h.mu.Unlock()
	for _, p := range procs {
		p.lost()
	}
	close(h.down)
}

// Kernel returns the release of the host's kernel.
func (h *Host) Kernel() string { return h.info.Kernel }

// Modules returns the folder of all modules of the host's kernel, as in /lib/modules, where the
// host has none.
func (h *Host) Modules() string { return h.modules }

// Env returns the variables that describe the host to its commands, SOFT_ROCE_ADDR and others.
func (h *Host) Env() map[string]string { return h.info.Env }

// Phases returns what the host's start spent its time on.
func (h *Host) Phases() []wire.Phase { return h.info.Phases }

// Console returns the end of what the host wrote on its console: the kernel's warnings and crashes.
// Of a host that is down it is all there.
func (h *Host) Console() string {
	select {
	case <-h.down:
		h.machine.Console.End(consoleLimit)
	default:
	}
	return h.machine.Console.Text()
}

// consoleLimit is for the last words of a host that is down, while QEMU ends.
const consoleLimit = 5 * time.Second

// Down is closed when the host has stopped running, whatever the reason.
func (h *Host) Down() <-chan struct{} { return h.down }

// PowerOff switches the host off at once, as if the plug had been pulled. Commands that run on it
// end with ErrHostDown. It may be called twice.
func (h *Host) PowerOff() {
	h.machine.Kill()
	<-h.down
}

// SetLink plugs the host's network cable in or out. Only hosts of a pair have one.
func (h *Host) SetLink(up bool) error { return h.machine.Monitor.SetLink(up) }

// Pause stops the host's processors: to its peer it does not answer any more. Resume wakes it up
// in the state in which it was.
func (h *Host) Pause() error { return h.machine.Monitor.Pause() }

// Resume lets a paused host go on.
func (h *Host) Resume() error { return h.machine.Monitor.Resume() }

// shutDown tells the host to power off and sees to it that it does.
func (h *Host) shutDown() {
	_ = h.out.Send(wire.TypePowerOff, 0, nil) // a host that is down already is fine
	h.machine.Shutdown(powerOffGrace)
	<-h.down
}

// dumpQuiet is how long a console has to be silent for a dump of its tasks to count as complete,
// and dumpLimit how long that may take.
const (
	dumpQuiet = 300 * time.Millisecond
	dumpLimit = 5 * time.Second
)

// DumpTasks makes the host's kernel write on its console which tasks are blocked and what its
// processors do (SysRq w and l). It does nothing on a host that is down.
func (h *Host) DumpTasks() {
	for _, key := range []byte{'w', 'l'} {
		if h.machine.SysRq(key) != nil {
			return
		}
	}
	deadline := time.After(dumpLimit)
	for last := -1; ; {
		length := h.machine.Console.Written()
		if length == last {
			return
		}
		last = length
		select {
		case <-time.After(dumpQuiet):
		case <-deadline:
			return
		case <-h.down:
			return
		}
	}
}

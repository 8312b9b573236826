package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"catmint/soft-roce/internal/roce"
	"catmint/soft-roce/testbed"
)

// host is where a command can be run: a guest, or this machine.
type host interface {
	Start(c testbed.Command) (process, error)
}

// process is a command that runs on a host.
type process interface {
	Done() <-chan struct{}
	Wait() (status int, err error)
	Signal(sig syscall.Signal) error
	Reason() string
}

// hosts are all the hosts of a run. close ends them and leaves nothing behind.
type hosts struct {
	list  []host
	bed   *testbed.Bed // nil on this machine itself
	close func()
	shown sync.Once // the consoles have been
}

type guestHost struct{ *testbed.Host }

func (g guestHost) Start(c testbed.Command) (process, error) { return g.Host.Start(c) }

// open makes the hosts that the flags ask for.
func (f *bedFlags) open(ctx context.Context, fs *pflag.FlagSet, std streams) (*hosts, error) {
	if !f.wantsQEMU(fs) {
		h, err := f.openNative(ctx)
		switch {
		case err == nil:
			return h, nil
		case f.mode == modeNative:
			return nil, fmt.Errorf("this machine cannot be a Soft-RoCE host: %w", err)
		case f.verbose:
			fmt.Fprintf(std.err, "soft-roce: in QEMU, because %v\n", err)
		}
	}
	cfg := f.bed
	cfg.Log = std.err
	if f.verbose {
		cfg.Console = std.err
	}
	begin := time.Now()
	bed, err := testbed.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h := &hosts{bed: bed, close: bed.Close}
	for _, guest := range bed.Hosts() {
		h.list = append(h.list, guestHost{guest})
		if f.verbose {
			describe(std.err, guest, time.Since(begin))
		}
	}
	return h, nil
}

func describe(w io.Writer, h *testbed.Host, took time.Duration) {
	fmt.Fprintf(w, "soft-roce: host %s ready after %.1f s, Linux %s:", h.Name, took.Seconds(), h.Kernel())
	for _, p := range h.Phases() {
		fmt.Fprintf(w, " %s %.2f s;", p.Name, p.Took.Seconds())
	}
	fmt.Fprintln(w)
}

func (f *bedFlags) openNative(ctx context.Context) (*hosts, error) {
	if err := roce.NativePossible(); err != nil {
		return nil, err
	}
	plan, err := roce.PlanFor("a", false, f.bed.MTU)
	if err != nil {
		return nil, err
	}
	unlock, err := lockNative()
	if err != nil {
		return nil, err
	}
	env, err := roce.Native(ctx, plan)
	if err != nil {
		err = errors.Join(err, roce.Remove())
		unlock()
		return nil, err
	}
	return &hosts{
		list: []host{nativeHost{env}},
		close: func() {
			if err := roce.Remove(); err != nil {
				fmt.Fprintln(os.Stderr, "soft-roce:", err)
			}
			unlock()
		},
	}, nil
}

// lockNative keeps two runs from sharing this machine's one Soft-RoCE device: the second waits.
func lockNative() (unlock func(), err error) {
	f, err := os.OpenFile("/run/lock/soft-roce", os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.OpenFile("/tmp/.soft-roce-lock", os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// report tells the user what went wrong, with the console of a host that did not boot.
func report(w io.Writer, err error) {
	fmt.Fprintln(w, "soft-roce:", err)
	var boot *testbed.BootError
	if errors.As(err, &boot) {
		showConsole(w, boot.Host, boot.Console)
	}
}

func showConsole(w io.Writer, name, text string) {
	if text == "" {
		fmt.Fprintf(w, "soft-roce: the console of host %s is empty\n", name)
		return
	}
	fmt.Fprintf(w, "soft-roce: console of host %s:\n%s\nsoft-roce: end of the console\n", name, text)
}

// showConsoles shows every guest's console, and of those that still run what their kernel says of
// tasks that are stuck.
func (h *hosts) showConsoles(w io.Writer) {
	if h.bed == nil {
		return
	}
	h.shown.Do(func() {
		for _, guest := range h.bed.Hosts() {
			guest.DumpTasks()
			showConsole(w, guest.Name, guest.Console())
		}
	})
}

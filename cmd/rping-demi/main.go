package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"catmint/libos"
	"catmint/rdma"
)

func main() {
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(stop, cancel) // who asks twice does not want to wait for the summary
	code := run(stop, os.Args[1:], os.Environ(), rdma.NewHardware(), os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run is the whole program on a fabric, in an environment as os.Environ has it; it returns the
// exit status. When stop ends, a run ends with what it has seen so far.
func run(stop context.Context, args, environ []string, fabric rdma.Fabric, stdout, stderr io.Writer) int {
	opts, err := parseOptions(args, stdout)
	if errors.Is(err, errHelp) {
		return exitOK
	}
	if err == nil {
		err = runOptions(stop, opts, environ, fabric, stdout, stderr)
	}
	if err != nil && !errors.Is(err, errDoctor) {
		fmt.Fprintf(stderr, "rping-demi: %s\n", describe(err))
	}
	return exitStatus(err)
}

func runOptions(stop context.Context, o options, environ []string, fabric rdma.Fabric, stdout, stderr io.Writer) (err error) {
	if err := checkFiles(); err != nil {
		return err
	}
	libos.WarnUnknownVariables(stderr, environ)
	cfg, err := libos.ConfigFromEnv(func(name string) string { return variable(environ, name) })
	if err != nil {
		return err
	}
	if o.debug {
		cfg.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.doctor {
		return runDoctor(stop, o, cfg, fabric, stdout)
	}
	if o.metrics != "" {
		cfg.MetricsAddr = o.metrics
	}
	addr, err := resolve(stop, o.address, o.port)
	if err != nil {
		return err
	}
	if err := checkDevices(fabric); err != nil {
		return err
	}
	if o.wait != "" {
		cfg.WaitMode = waitModes[o.wait]
	}
	t := task{cfg: cfg, fabric: fabric, opts: o, addr: addr, out: stdout, errOut: stderr, outMu: new(sync.Mutex)}
	var endRecord func()
	t.record, endRecord = newRecorder(&t)
	defer func() {
		endRecord()
		if perr := t.record.print(fabric); perr != nil && err == nil {
			err = perr
		}
	}()
	if o.server {
		return t.withEngine(func(e *libos.Engine) error { return newServer(t, e).run(stop) })
	}
	if t.local, err = resolveLocal(stop, o.bind); err != nil {
		return err
	}
	if t.local.IsValid() && t.local.Addr().Is4() != t.addr.Addr().Is4() {
		return usagef("-I %s and -a %s: one is IPv4 and the other IPv6", t.local.Addr(), t.addr.Addr())
	}
	if !o.verbose && !o.debug {
		t.terminal = terminalOf(stderr)
	}
	return t.runClient(stop)
}

// variable is the value of a variable of environ, "" if it is not set.
func variable(environ []string, name string) string {
	for _, kv := range environ {
		if value, found := strings.CutPrefix(kv, name+"="); found {
			return value
		}
	}
	return ""
}

// task is what a run works with.
type task struct {
	cfg         libos.Config
	fabric      rdma.Fabric
	opts        options
	addr, local netip.AddrPort // local is invalid for any
	out, errOut io.Writer
	outMu       *sync.Mutex // of out, where several goroutines print
	drawn       bool        // the timeline has been
	record      *recorder   // of --stats, nil without
	terminal    *terminal   // for a running count, nil if there is none
}

// withEngine runs f with an engine of a libOS that ends afterwards.
func (t *task) withEngine(f func(*libos.Engine) error) (err error) {
	process, err := libos.New(t.cfg, t.fabric)
	if err != nil {
		return err
	}
	engine, err := process.NewEngine()
	if err != nil {
		return errors.Join(err, process.Close())
	}
	t.record.add(process)
	defer func() {
		cerr := process.Close()
		t.record.remove(process)
		if cerr != nil && err == nil {
			err = fmt.Errorf("shut down: %w", cerr)
		}
	}()
	return f(engine)
}

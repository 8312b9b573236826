package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"catmint/libos"
	"catmint/rdma"
)

func main() {
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(stop, os.Args[1:], os.Getenv, rdma.NewHardware(), os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run is the whole program on a fabric; it returns the exit status. When stop ends, a run
// ends with what it has seen so far.
func run(stop context.Context, args []string, getenv func(string) string, fabric rdma.Fabric, stdout, stderr io.Writer) int {
	opts, err := parseOptions(args, stdout)
	if errors.Is(err, errHelp) {
		return exitOK
	}
	if err == nil {
		err = runOptions(stop, opts, getenv, fabric, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "rping-demi: %s\n", describe(err))
	}
	return exitStatus(err)
}

func runOptions(stop context.Context, o options, getenv func(string) string, fabric rdma.Fabric, stdout, stderr io.Writer) (err error) {
	cfg, err := libos.ConfigFromEnv(getenv)
	if err != nil {
		return err
	}
	if o.debug {
		cfg.Logger = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	addr, err := resolve(stop, o.address, o.port)
	if err != nil {
		return err
	}
	if err := checkDevices(fabric); err != nil {
		return err
	}
	process, err := libos.New(cfg, fabric)
	if err != nil {
		return err
	}
	engine, err := process.NewEngine()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := process.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("shut down: %w", cerr)
		}
	}()
	if o.server {
		return (&server{engine: engine, opts: o, addr: addr, out: stdout, errOut: stderr}).run(stop)
	}
	local, err := resolveLocal(stop, o.bind)
	if err != nil {
		return err
	}
	return runClient(stop, engine, o, addr, local, stdout)
}

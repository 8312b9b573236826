package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

func main() {
	var b bed
	short := pflag.Bool("short", false, "fewer sizes, fewer pings")
	pflag.StringVar(&b.demi, "rping-demi", "build/rping-demi", "the program to test")
	pflag.StringVar(&b.stock, "rping", "rping", "rdma-core's rping")
	only := pflag.String("only", "", "run only the scenarios whose name contains this")
	pflag.Parse()
	b.addrs[0], b.addrs[1] = os.Getenv("SOFT_ROCE_ADDR"), os.Getenv("SOFT_ROCE_ADDR6")
	if b.addrs[0] == "" || b.addrs[1] == "" {
		fmt.Fprintln(os.Stderr, "interop: SOFT_ROCE_ADDR is not set: run with soft-roce run, or make test-interop")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	failed := runAll(ctx, &b, scenarios(*short), *only, os.Stdout)
	stop()
	if failed > 0 {
		os.Exit(1)
	}
}

// scenario is one row of the table.
type scenario struct {
	what   string // who does what with whom
	family int    // 0: IPv4, 1: IPv6
	size   int    // bytes of a ping
	pings  int    // of each client
	run    func(ctx context.Context, b *bed, s scenario) error
}

// limit is the time of one scenario: emulated machines are slow, and 1 GiB is long.
const limit = 15 * time.Minute

// runAll runs scenarios one after another, prints how each went as it ends, what is wrong
// with those that failed, and the counts; it returns how many failed.
func runAll(ctx context.Context, b *bed, all []scenario, only string, out io.Writer) (failed int) {
	passed := 0
	fmt.Fprintf(out, "%-52s %-5s %10s %6s  %s\n", "SCENARIO", "IP", "BYTES", "PINGS", "RESULT")
	for _, s := range all {
		if ctx.Err() != nil || !contains(s.what, only) {
			continue
		}
		start := time.Now()
		one, cancel := context.WithTimeout(ctx, limit)
		err := s.run(one, b, s)
		cancel()
		result := "ok"
		if err != nil {
			failed++
			result = "FAILED"
		} else {
			passed++
		}
		fmt.Fprintf(out, "%-52s %-5s %10d %6d  %s in %.1f s\n", s.what, [...]string{"IPv4", "IPv6"}[s.family],
			s.size, s.pings, result, time.Since(start).Seconds())
		if err != nil {
			fmt.Fprintf(out, "    %v\n", indented(err))
		}
	}
	if ctx.Err() != nil {
		fmt.Fprintf(out, "stopped: %v\n", context.Cause(ctx))
		failed++
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	return failed
}

// fail joins a reason with what the programs printed.
func fail(reason error, ps ...*process) error {
	errs := []error{reason}
	for _, p := range ps {
		errs = append(errs, errors.New(p.report()))
	}
	return errors.Join(errs...)
}

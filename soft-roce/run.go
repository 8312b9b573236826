package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/pflag"

	"catmint/soft-roce/testbed"
)

// defaultRunTimeout leaves room for a boot and for what a test of the main job takes under TCG.
const defaultRunTimeout = 5 * time.Minute

type runFlags struct {
	bedFlags
	stdin bool
	pair  pairFlags
}

func runMain(
	ctx context.Context, cancel context.CancelCauseFunc, args []string, std streams, signals <-chan os.Signal,
) (int, error) {
	var f runFlags
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	fs.SetInterspersed(false)
	f.register(fs, defaultRunTimeout)
	fs.BoolVarP(&f.stdin, "stdin", "i", false, "pass standard input on to the command")
	f.pair.register(fs)
	if err := parse(fs, args, std, "soft-roce run [flags] [--] COMMAND [ARG...]"); err != nil {
		return 0, err
	}
	if err := f.check(fs); err != nil {
		return 0, err
	}
	if err := f.pair.check(fs.Args(), f.bed.Hosts, f.stdin); err != nil {
		return 0, err
	}
	defer limit(cancel, f.timeout, signals)()
	h, err := f.open(ctx, fs, std)
	if err != nil {
		return statusIfCut(ctx, err)
	}
	defer h.close()
	if f.bed.Hosts == 2 {
		return f.pair.run(ctx, h, f.env, fs.Args(), std)
	}
	c := testbed.Command{Args: fs.Args(), Env: f.env, Stdout: std.out, Stderr: std.err}
	if f.stdin {
		c.Stdin = std.in
	}
	p, err := h.list[0].Start(c)
	if err != nil {
		return statusFailure, err
	}
	return await(ctx, h, p, std.err)
}

// statusIfCut gives a start that was cut short by the user or by the time limit the status for that.
func statusIfCut(ctx context.Context, err error) (int, error) {
	cause := context.Cause(ctx)
	if cause == nil {
		return statusFailure, err
	}
	var interrupted interruptedError
	if errors.As(cause, &interrupted) {
		return statusOf(cause), nil
	}
	if !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return statusOf(cause), err
}

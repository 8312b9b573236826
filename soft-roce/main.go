// Command soft-roce runs commands and tests on Soft-RoCE hosts: on this machine where its kernel
// offers rdma_rxe, otherwise on virtual machines in QEMU that see this machine's files. README.md
// tells how it works.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// Exit statuses of soft-roce itself, as timeout(1) and env(1) use them. All others are those of
// the command.
const (
	statusUsage   = 2
	statusTimeout = 124 // the time limit was reached
	statusFailure = 125 // the test bed failed, or the guest died
)

const usage = `soft-roce runs commands on Soft-RoCE hosts: on this machine if its kernel offers
rdma_rxe and you are root, otherwise in QEMU, where commands see this machine's files.

Usage:
  soft-roce run [flags] [--] COMMAND [ARG...]     run a command on a host
  soft-roce run --hosts 2 --on-a CMD --on-b CMD   run a shell command on each of two hosts
  soft-roce test [flags] PACKAGE... [-- ARG...]   run Go tests that need RDMA
  soft-roce shell [flags]                         open a shell on a host
  soft-roce fetch [flags]                         fetch or renew the kernel of the guests

"soft-roce SUBCOMMAND --help" lists the flags.

Commands find the addresses to use in their environment: SOFT_ROCE_ADDR and SOFT_ROCE_ADDR6 are
the host's own, SOFT_ROCE_PEER and SOFT_ROCE_PEER6 the other host's (the own ones if there is only
one host), SOFT_ROCE_DEVICE names the RDMA device, SOFT_ROCE_NETDEV the network device under it and
SOFT_ROCE_HOST the host, a or b.

The exit status is the command's; 124 means that the time limit was reached, 125 that the test bed
failed, 126 that the command could not be started, 127 that it does not exist, and 128 + N that
signal N ended it.

Examples:
  soft-roce run -- ibv_devinfo
  soft-roce run -- sh -c 'rping -s -a $SOFT_ROCE_ADDR & sleep 1; rping -c -a $SOFT_ROCE_ADDR -C 3'
  soft-roce run --hosts 2 --on-a 'rping -s -a $SOFT_ROCE_ADDR -C 3' --on-b 'rping -c -a $SOFT_ROCE_PEER -C 3'
  soft-roce test -v ./rdma ./libos
`

// streams are where a subcommand reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func main() {
	// The first signal ends the command in order, see supervise; the default action would leave
	// that to chance.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	os.Exit(Main(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}, signals))
}

// Main runs soft-roce and returns its exit status.
func Main(args []string, std streams, signals <-chan os.Signal) int {
	status, err := dispatch(args, std, signals)
	var wrong usageError
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(std.err, "soft-roce: %v (see soft-roce --help)\n", err)
		return statusUsage
	case err != nil:
		report(std.err, err)
		if status == 0 {
			status = statusFailure
		}
	}
	return status
}

func dispatch(args []string, std streams, signals <-chan os.Signal) (int, error) {
	if len(args) == 0 {
		fmt.Fprint(std.err, usage)
		return statusUsage, nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	rest := args[1:]
	switch args[0] {
	case "run":
		return runMain(ctx, cancel, rest, std, signals)
	case "test":
		return testMain(ctx, cancel, rest, std, signals)
	case "shell":
		return shellMain(ctx, cancel, rest, std, signals)
	case "fetch":
		return fetchMain(ctx, cancel, rest, std, signals)
	case "help", "--help", "-h":
		fmt.Fprint(std.out, usage)
		return 0, nil
	default:
		return 0, usageError{fmt.Errorf("there is no subcommand %q", args[0])}
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"catmint/soft-roce/testbed"
)

func main() {
	var l lab
	short := pflag.Bool("short", false, "only the faults that take little time")
	kernel := pflag.String("kernel", testbed.Config{}.Kernel, "kernel of the hosts, as for soft-roce")
	only := pflag.String("only", "", "only the faults whose name matches this regular expression")
	pflag.StringVar(&l.agent, "agent", "build/faults-agent", "the program that runs on the hosts")
	logTo := pflag.String("log", "", "write all that the agents say and log to this file")
	pflag.Parse()
	matching, err := regexp.Compile(*only)
	if err == nil {
		l.agent, err = agentPath(l.agent)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	}
	if *logTo != "" {
		f, err := os.Create(*logTo)
		if err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			os.Exit(2)
		}
		defer f.Close()
		l.log = f
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "faults: starting two hosts")
	if l.bed, err = testbed.Start(ctx, testbed.Config{Hosts: 2, Kernel: *kernel, Log: os.Stderr}); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
	if err := l.prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
	failed := runAll(ctx, &l, faults(*short), matching, os.Stdout)
	l.bed.Close()
	stop()
	if failed > 0 {
		os.Exit(1)
	}
}

// fault is one row of the table.
type fault struct {
	name  string
	short bool // takes little time
	run   func(ctx context.Context, l *lab, o *outcome) error
}

// limit is the time of one fault: emulated machines are slow.
const limit = 5 * time.Minute

// runAll commits the faults one after another, prints what each has led to, and last the counts; it
// returns how many failed.
func runAll(ctx context.Context, l *lab, all []fault, only *regexp.Regexp, out io.Writer) (failed int) {
	passed := 0
	fmt.Fprintf(out, tableRow, "FAULT", "HOST", "TOKENS", "RETURNED", "IN", "BOUND", "LOST", "RESOURCES", "RESULT")
	for _, f := range all {
		if ctx.Err() != nil || !only.MatchString(f.name) {
			continue
		}
		o := &outcome{}
		began := time.Now()
		one, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
		err := f.run(one, l, o)
		cancel()
		if err != nil && l.log != nil {
			l.examine(f.name)
		}
		l.clear(f.name)
		result := "ok"
		if err != nil {
			failed++
			result = "FAILED"
		} else {
			passed++
		}
		result = fmt.Sprintf("%s in %.1f s", result, time.Since(began).Seconds())
		if o.note != "" {
			result += " (" + o.note + ")"
		}
		o.print(out, f.name, result)
		if err != nil {
			fmt.Fprintf(out, "    %s\n", strings.ReplaceAll(err.Error(), "\n", "\n    "))
		}
	}
	if ctx.Err() != nil {
		fmt.Fprintf(out, "stopped: %v\n", context.Cause(ctx))
		failed++
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	return failed
}

const tableRow = "%-34s %-4s %-42s %-13s %7s %7s  %-18s %-10s %s\n"

// print prints the rows of a fault, the first of which says how it went.
func (o *outcome) print(out io.Writer, name, result string) {
	rows := o.rows()
	if len(rows) == 0 {
		rows = []row{{}}
	}
	for i, r := range rows {
		first := [4]string{}
		if i == 0 {
			first = [4]string{name, o.lost, o.left, result}
		}
		line := fmt.Sprintf(tableRow, first[0], r.host, r.tokens, r.returned, r.in, r.bound, first[1], first[2], first[3])
		fmt.Fprintln(out, strings.TrimRight(line, " \n"))
	}
}

// examine logs what the hosts' network and RDMA devices have seen.
func (l *lab) examine(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, h := range l.bed.Hosts() {
		seen, err := sh(ctx, h, `ip -s link show $SOFT_ROCE_NETDEV; ip neigh; tc -s qdisc show dev $SOFT_ROCE_NETDEV
			cd /sys/class/infiniband/$SOFT_ROCE_DEVICE/ports/1 && grep . state hw_counters/*; rdma resource; rdma resource show qp
			timeout 5 bash -c "echo >/dev/tcp/$SOFT_ROCE_PEER/1"; dmesg | tail -n 20`)
		fmt.Fprintf(l.log, "%s: host %s: %v\n%s\n", name, h.Name, err, seen)
	}
}

// clear ends the agents that a fault has left and takes its other traces off the hosts.
func (l *lab) clear(name string) {
	for _, n := range l.nodes {
		if l.log != nil {
			n.mu.Lock()
			fmt.Fprintf(l.log, "%s: agent on %s\n%s\n", name, n.host.Name, n.story(len(n.events)+n.errOut.Len()))
			n.mu.Unlock()
		}
		select {
		case <-n.proc.Done():
		case <-n.host.Down():
		default:
			_ = n.kill() // there is nothing to be done about one that cannot be
		}
		_ = n.in.Close()
	}
	l.nodes = nil
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, h := range l.bed.Hosts() {
		_ = h.SetLink(true)
		_ = netem(ctx, h, nothing)
		_, _ = sh(ctx, h, "rdma link show $SOFT_ROCE_DEVICE/1 >/dev/null 2>&1 || "+addDevice)
		if alive, err := cmAlive(ctx, h); err == nil && !alive {
			_ = l.renew(ctx, h)
		}
	}
}

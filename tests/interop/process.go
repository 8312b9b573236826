package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// bed is what the scenarios run on.
type bed struct {
	demi, stock string    // the programs
	addrs       [2]string // of this host, IPv4 and IPv6
	port        int       // the last one used; each server gets its own
}

// nextPort is a port that no server of this run had.
func (b *bed) nextPort() string {
	if b.port == 0 {
		b.port = 20000
	}
	b.port++
	return strconv.Itoa(b.port)
}

// process is a running program and what it has printed. The streams are kept apart: a line
// on standard error may come in the middle of one of buffered standard output.
type process struct {
	name        string
	cmd         *exec.Cmd
	out, errOut output
	done        chan struct{} // closed when it has ended
}

// start runs a program until it ends or ctx does.
func start(ctx context.Context, name string, args ...string) (*process, error) {
	p := &process{name: name + " " + strings.Join(args, " "), done: make(chan struct{})}
	p.out.news, p.errOut.news = make(chan struct{}), make(chan struct{})
	p.cmd = exec.CommandContext(ctx, name, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errOut
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the status is asked for with code
	}()
	return p, nil
}

// code waits for the end and returns the exit status; -1 after a signal.
func (p *process) code() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// expect waits for the end, which must have this status.
func (p *process) expect(want int) error {
	if got := p.code(); got != want {
		return fail(fmt.Errorf("exit status %d, not %d", got, want), p)
	}
	return nil
}

// expectFailure waits for the end, which must not be success, nor that of a signal.
func (p *process) expectFailure() error {
	if got := p.code(); got <= 0 {
		return fail(fmt.Errorf("exit status %d, not a failure's", got), p)
	}
	return nil
}

// signal sends a signal, if the program still runs.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// await waits until want has been printed n times.
func (p *process) await(ctx context.Context, want string, n int) error {
	for {
		seen, news := p.out.count(want)
		seenErr, newsErr := p.errOut.count(want)
		if seen+seenErr >= n {
			return nil
		}
		select {
		case <-news:
		case <-newsErr:
		case <-p.done:
			if seen := p.count(want); seen < n {
				return fail(fmt.Errorf("it ended and has printed %q %d times, not %d", want, seen, n), p)
			}
		case <-ctx.Done():
			return fail(fmt.Errorf("waiting for it to print %q %d times: %w", want, n, ctx.Err()), p)
		}
	}
}

// count says how often want has been printed.
func (p *process) count(want string) int {
	out, _ := p.out.count(want)
	errOut, _ := p.errOut.count(want)
	return out + errOut
}

// has says whether want has been printed.
func (p *process) has(want string) bool { return p.count(want) > 0 }

// report is the command with the end of what it printed.
func (p *process) report() string {
	return p.name + ":" + tail(p.out.String()) + tail(p.errOut.String())
}

// tail is the end of what was printed, indented.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

// output collects what a program prints.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	news chan struct{} // closed and made anew with each write
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.news)
	o.news = make(chan struct{})
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) count(want string) (int, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Count(o.buf.Bytes(), []byte(want)), o.news
}

func contains(s, part string) bool { return strings.Contains(s, part) }

func indented(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n    ") }

// demiServer starts rping-demi as a server and waits until it listens.
func (b *bed) demiServer(ctx context.Context, s scenario, args ...string) (p *process, port string, err error) {
	port = b.nextPort()
	p, err = start(ctx, b.demi, append([]string{"-s", "-a", b.addrs[s.family], "-p", port}, args...)...)
	if err == nil {
		err = p.await(ctx, "listening on", 1)
	}
	return p, port, err
}

// stockServer starts rping as a server and waits until it listens. Its traces, which say
// so, come at once only with line buffering.
func (b *bed) stockServer(ctx context.Context, s scenario, args ...string) (p *process, port string, err error) {
	port = b.nextPort()
	args = append([]string{"-oL", b.stock, "-s", "-d", "-a", b.addrs[s.family], "-p", port}, args...)
	p, err = start(ctx, "stdbuf", args...)
	if err == nil {
		err = p.await(ctx, "rdma_listen", 1)
	}
	return p, port, err
}

// client starts a client of either kind.
func (b *bed) client(ctx context.Context, program string, s scenario, port string, args ...string) (*process, error) {
	return start(ctx, program, append([]string{
		"-c", "-a", b.addrs[s.family], "-p", port, "-S", strconv.Itoa(s.size), "-C", strconv.Itoa(s.pings),
	}, args...)...)
}

// errors of scenarios.
var errMismatch = errors.New("rping says that what came back differs")

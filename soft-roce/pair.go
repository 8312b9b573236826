package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"catmint/soft-roce/testbed"
)

// stopGrace is how long a server gets to end after SIGTERM. Tests shorten it.
var stopGrace = 5 * time.Second

// pairFlags say what two hosts do.
type pairFlags struct {
	onA, onB string
	ready    string
	serve    bool

	readyPattern *regexp.Regexp
}

func (f *pairFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.onA, "on-a", "", "with --hosts 2: shell command for host a")
	fs.StringVar(&f.onB, "on-b", "", "with --hosts 2: shell command for host b")
	fs.StringVar(&f.ready, "ready", "", "with --hosts 2: start on b once a has printed a line that "+
		"matches this regular expression")
	fs.BoolVar(&f.serve, "serve", false, "with --hosts 2: a's command is a server; stop it when b's ends, "+
		"whose exit status alone counts")
}

func (f *pairFlags) check(args []string, hosts int, stdin bool) error {
	separate := f.onA != "" || f.onB != ""
	switch {
	case hosts == 1 && (separate || f.ready != "" || f.serve):
		return usageError{errors.New("--on-a, --on-b, --ready and --serve need --hosts 2")}
	case hosts == 2 && stdin:
		return usageError{errors.New("--stdin works with one host only")}
	case separate && (f.onA == "" || f.onB == ""):
		return usageError{errors.New("--on-a and --on-b go together")}
	case separate && len(args) > 0:
		return usageError{errors.New("either --on-a and --on-b, or one COMMAND for both hosts")}
	case !separate && len(args) == 0:
		return usageError{errors.New("no COMMAND")}
	}
	pattern, err := regexp.Compile(f.ready)
	if err != nil {
		return usageError{fmt.Errorf("--ready: %w", err)}
	}
	if f.ready != "" {
		f.readyPattern = pattern
	}
	return nil
}

// ended is the end of one host's command.
type ended struct {
	host   int
	status int
	err    error
}

// run runs the commands on both hosts, with each line of output marked with its host. The first
// command that fails decides the exit status, and ends the other one.
func (f *pairFlags) run(ctx context.Context, h *hosts, env, args []string, std streams) (int, error) {
	shell := func(line string) []string { return []string{"sh", "-c", line} }
	argv := [2][]string{args, args}
	if f.onA != "" {
		argv = [2][]string{shell(f.onA), shell(f.onB)}
	}
	var mu sync.Mutex // both hosts' lines go to the same places
	watch := &lineWatch{pattern: f.readyPattern, seen: make(chan struct{})}
	ends := make(chan ended, 2)
	procs := [2]process{}
	start := func(i int) error {
		name := string(rune('a' + i))
		out := &lineWriter{mu: &mu, prefix: name + "| ", w: std.out}
		errs := &lineWriter{mu: &mu, prefix: name + "| ", w: std.err}
		c := testbed.Command{Args: argv[i], Env: env, Stdout: out, Stderr: errs}
		if i == 0 && f.readyPattern != nil {
			c.Stdout = io.MultiWriter(watch.stream(), out)
			c.Stderr = io.MultiWriter(watch.stream(), errs)
		}
		p, err := h.list[i].Start(c)
		if err != nil {
			return err
		}
		procs[i] = p
		go func() {
			status, err := await(ctx, h, p, std.err)
			out.flush()
			errs.flush()
			ends <- ended{i, status, err}
		}()
		return nil
	}
	if err := start(0); err != nil {
		return statusFailure, err
	}
	if f.readyPattern != nil {
		select {
		case <-watch.seen:
		case e := <-ends:
			if e.err == nil && e.status == 0 && !isClosed(watch.seen) {
				return statusFailure, fmt.Errorf("host a ended without a line that matches %q", f.ready)
			}
			if e.err != nil || e.status != 0 {
				return e.status, e.err
			}
			ends <- e // it did print the line and was quick
		}
	}
	if err := start(1); err != nil {
		return statusFailure, err
	}
	return f.collect(procs, ends)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// collect waits for both commands.
func (f *pairFlags) collect(procs [2]process, ends <-chan ended) (int, error) {
	first := <-ends
	other := procs[1-first.host]
	switch {
	case first.err != nil || first.status != 0:
		stop(other)
		<-ends
		return first.status, first.err
	case f.serve && first.host == 1:
		stop(other)
		<-ends
		return 0, nil
	}
	second := <-ends
	return second.status, second.err
}

// stop ends a command: SIGTERM first, and SIGKILL if that is not enough.
func stop(p process) {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.Done():
	case <-time.After(stopGrace):
		_ = p.Signal(syscall.SIGKILL)
	}
}

// lineWriter passes whole lines on, each with a prefix.
type lineWriter struct {
	mu     *sync.Mutex
	prefix string
	w      io.Writer
	rest   []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		if _, err := fmt.Fprintf(l.w, "%s%s", l.prefix, l.rest[:i+1]); err != nil {
			return len(p), err
		}
		l.rest = l.rest[i+1:]
	}
}

// flush passes on what is left of a last line without an end.
func (l *lineWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 {
		fmt.Fprintf(l.w, "%s%s\n", l.prefix, l.rest)
		l.rest = nil
	}
}

// lineWatch looks for a line that matches a pattern in one or more streams.
type lineWatch struct {
	pattern *regexp.Regexp
	seen    chan struct{}
	once    sync.Once
}

func (w *lineWatch) stream() io.Writer { return &watchedStream{watch: w} }

type watchedStream struct {
	watch *lineWatch
	rest  []byte
}

func (s *watchedStream) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		if s.watch.pattern.Match(s.rest[:i]) {
			s.watch.once.Do(func() { close(s.watch.seen) })
		}
		s.rest = s.rest[i+1:]
	}
}

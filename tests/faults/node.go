package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"catmint/soft-roce/testbed"
	"catmint/tests/faults/report"
)

// event is what an agent said, and when that was heard.
type event struct {
	report.Event
	at time.Time
}

// process is a *testbed.Process, or a test's.
type process interface {
	Done() <-chan struct{}
	Wait() (status int, err error)
	Signal(syscall.Signal) error
}

// node is an agent that runs on a host.
type node struct {
	host *testbed.Host
	proc process
	in   *io.PipeWriter

	mu     sync.Mutex
	events []event
	rest   []byte // of a line that is not complete
	errOut bytes.Buffer
	news   chan struct{} // closed and made anew with each event and line of log
}

// start runs an agent and waits until it takes commands.
func (l *lab) start(ctx context.Context, h *testbed.Host, env ...string) (*node, error) {
	r, w := io.Pipe()
	n := &node{host: h, in: w, news: make(chan struct{})}
	proc, err := h.Start(testbed.Command{
		Args: []string{l.agent}, Stdin: r, Stdout: n, Stderr: errWriter{n},
		Env: append([]string{
			fmt.Sprint("DEMI_KEEPALIVE_MS=", keepAlive.Milliseconds()),
			fmt.Sprint("DEMI_CONNECT_TIMEOUT_MS=", connectTimeout.Milliseconds()),
			"DEMI_LOG=info",
		}, env...),
	})
	if err != nil {
		return nil, err
	}
	n.proc = proc
	l.nodes = append(l.nodes, n)
	_, err = n.await(ctx, "it starts", 0, is(report.Ready))
	return n, err
}

// Write takes the agent's standard output.
func (n *node) Write(b []byte) (int, error) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rest = append(n.rest, b...)
	for {
		line, rest, whole := bytes.Cut(n.rest, []byte("\n"))
		if !whole {
			break
		}
		var ev report.Event
		if err := json.Unmarshal(line, &ev); err != nil {
			ev = report.Event{Ev: report.Broken, Why: fmt.Sprintf("it says %q", line)}
		}
		n.events = append(n.events, event{ev, now})
		n.rest = append([]byte(nil), rest...)
	}
	n.tellNews()
	return len(b), nil
}

func (n *node) tellNews() {
	close(n.news)
	n.news = make(chan struct{})
}

type errWriter struct{ n *node }

func (w errWriter) Write(b []byte) (int, error) {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	defer w.n.tellNews()
	return w.n.errOut.Write(b)
}

// tell gives the agent a command.
func (n *node) tell(c report.Command) error {
	b, err := json.Marshal(c)
	if err == nil {
		_, err = n.in.Write(append(b, '\n'))
	}
	return err
}

// mark is where the events now end; what is awaited from there on is news.
func (n *node) mark() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.events)
}

// since are the events from a mark on.
func (n *node) since(from int) []event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]event(nil), n.events[from:]...)
}

// await waits for an event from a mark on. That the agent says something is broken, or ends, is an
// error unless it is what is waited for.
func (n *node) await(ctx context.Context, what string, from int, match func(event) bool) (event, error) {
	for {
		n.mu.Lock()
		events, news := n.events, n.news
		n.mu.Unlock()
		for ; from < len(events); from++ {
			ev := events[from]
			if match(ev) {
				return ev, nil
			}
			if ev.Ev == report.Broken {
				return ev, n.fail(errors.New(ev.Why))
			}
		}
		select {
		case <-news:
		case <-n.proc.Done():
			if n.mark() == from {
				return event{}, n.fail(fmt.Errorf("waiting until %s: it has ended", what))
			}
		case <-ctx.Done():
			return event{}, n.fail(fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx)))
		}
	}
}

// awaitLog waits until the agent has logged a line that contains want.
func (n *node) awaitLog(ctx context.Context, want string) error {
	for {
		n.mu.Lock()
		found, news := strings.Contains(n.errOut.String(), want), n.news
		n.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-news:
		case <-n.proc.Done():
			return n.fail(fmt.Errorf("it has ended and not logged %q", want))
		case <-ctx.Done():
			return n.fail(fmt.Errorf("waiting for %q in its log: %w", want, context.Cause(ctx)))
		}
	}
}

// fail adds to an error what the agent saw last.
func (n *node) fail(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Errorf("agent on %s: %w\n%s", n.host.Name, err, n.story(20))
}

// story is the last lines that the agent said and logged, each. The lock is held.
func (n *node) story(last int) string {
	var b strings.Builder
	for _, ev := range n.events[max(0, len(n.events)-last):] {
		line, _ := json.Marshal(ev.Event) // was unmarshalled
		fmt.Fprintf(&b, "  %s %s\n", ev.at.Format("05.000"), line)
	}
	lines := strings.Split(strings.TrimSpace(n.errOut.String()), "\n")
	return b.String() + "  " + strings.Join(lines[max(0, len(lines)-last):], "\n  ")
}

// kill ends the agent as SIGKILL does.
func (n *node) kill() error {
	err := n.proc.Signal(syscall.SIGKILL)
	_, werr := n.proc.Wait()
	return errors.Join(err, werr)
}

// exit has the agent close everything, of which nothing may be left, and end.
func (n *node) exit(ctx context.Context) error {
	from := n.mark()
	if err := n.tell(report.Command{Do: report.Exit}); err != nil {
		return err
	}
	bye, err := n.await(ctx, "it has closed everything", from, is(report.Bye))
	if err != nil {
		return err
	}
	if status, err := n.proc.Wait(); err != nil || status != 0 {
		return n.fail(fmt.Errorf("exit status %d, %w", status, err))
	}
	if len(bye.Objects) != 0 {
		return n.fail(fmt.Errorf("it leaves %v", bye.Objects))
	}
	return nil
}

// is matches events of a sort.
func is(ev string) func(event) bool { return func(e event) bool { return e.Ev == ev } }

// of matches events of a sort that concern a connection.
func of(ev, conn string) func(event) bool {
	return func(e event) bool { return e.Ev == ev && e.Conn == conn }
}

// ended matches the end of a token.
func ended(kind, conn string) func(event) bool {
	return func(e event) bool { return e.Ev == report.Token && e.Kind == kind && e.Conn == conn }
}

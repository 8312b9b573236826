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

// node is an agent that runs on a host.
type node struct {
	host *testbed.Host
	proc *testbed.Process
	in   *io.PipeWriter

	mu     sync.Mutex
	events []event
	rest   []byte // of a line that is not complete
	errOut bytes.Buffer
	news   chan struct{} // closed and made anew with each event
}

// start runs an agent and waits until it takes commands.
func (l *lab) start(ctx context.Context, h *testbed.Host, env ...string) (*node, error) {
	r, w := io.Pipe()
	n := &node{host: h, in: w, news: make(chan struct{})}
	var err error
	n.proc, err = h.Start(testbed.Command{
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
	close(n.news)
	n.news = make(chan struct{})
	return len(b), nil
}

type errWriter struct{ n *node }

func (w errWriter) Write(b []byte) (int, error) {
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
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

// fail adds to an error what the agent saw last.
func (n *node) fail(err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "agent on %s: %v", n.host.Name, err)
	events := n.events
	if len(events) > 25 {
		events = events[len(events)-25:]
	}
	for _, ev := range events {
		line, _ := json.Marshal(ev.Event) // was unmarshalled
		fmt.Fprintf(&b, "\n  %s %s", ev.at.Format("05.000"), line)
	}
	lines := strings.Split(strings.TrimSpace(n.errOut.String()), "\n")
	if len(lines) > 25 {
		lines = lines[len(lines)-25:]
	}
	return errors.New(b.String() + "\n  " + strings.Join(lines, "\n  "))
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

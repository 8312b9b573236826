// Package pair lets the two halves of a test on two Soft-RoCE hosts arrange things with each other,
// over plain TCP, which has nothing to do with what is tested. "soft-roce test --hosts 2" runs the
// same test on both hosts:
//
//	p := pair.Join(t)
//	if p.Host == "a" {
//		...listen...
//		p.Barrier("listening")
//	} else {
//		p.Barrier("listening")
//		...connect...
//	}
//
// It does not start hosts; that is package testbed's business.
package pair

import (
	"bufio"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// port is where host a listens.
const port = "7999"

// limit bounds every wait for the other half, which may be far behind on a slow machine.
const limit = 2 * time.Minute

// retryAfter is the pause between two attempts to reach a half that does not listen yet.
const retryAfter = 20 * time.Millisecond

// Pair is one half's connection to the other. It belongs to one test and one goroutine.
type Pair struct {
	Host string // this half's host, "a" or "b"
	Addr string // its own IPv4 address
	Peer string // the other half's

	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

// Join waits for the other half of the test, which must join under the same name (t.Name()). What
// goes wrong ends the test.
func Join(t *testing.T) *Pair {
	t.Helper()
	p := &Pair{
		Host: os.Getenv("SOFT_ROCE_HOST"), Addr: os.Getenv("SOFT_ROCE_ADDR"),
		Peer: os.Getenv("SOFT_ROCE_PEER"), t: t,
	}
	var err error
	switch p.Host {
	case "a":
		p.conn, err = accept(net.JoinHostPort(p.Addr, port))
	case "b":
		p.conn, err = dial(t, net.JoinHostPort(p.Peer, port))
	default:
		err = errors.New(`this test needs two hosts: soft-roce test --hosts 2`)
	}
	if err != nil {
		t.Fatalf("join the other half: %v", err)
	}
	t.Cleanup(func() { _ = p.conn.Close() })
	p.lines = bufio.NewReader(p.conn)
	p.Barrier("join " + t.Name())
	return p
}

func accept(addr string) (net.Conn, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	return l.Accept()
}

func dial(t *testing.T, addr string) (net.Conn, error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Until(deadline))
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(deadline) {
			return conn, err
		}
		select {
		case <-time.After(retryAfter):
		case <-t.Context().Done():
			return nil, t.Context().Err()
		}
	}
}

// Send gives the other half a word; its next Receive returns it.
func (p *Pair) Send(word string) {
	p.t.Helper()
	_ = p.conn.SetDeadline(time.Now().Add(limit))
	if _, err := p.conn.Write([]byte(strconv.Quote(word) + "\n")); err != nil {
		p.t.Fatalf("tell the other half %q: %v", word, err)
	}
}

// Receive waits for the other half's next word.
func (p *Pair) Receive() string {
	p.t.Helper()
	_ = p.conn.SetDeadline(time.Now().Add(limit))
	line, err := p.lines.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the other half says nothing (has it failed?): %v", err)
	}
	word, err := strconv.Unquote(strings.TrimSpace(line))
	if err != nil {
		p.t.Fatalf("the other half says %q: %v", line, err)
	}
	return word
}

// Barrier waits until the other half has reached the barrier of the same name.
func (p *Pair) Barrier(name string) {
	p.t.Helper()
	p.Send(name)
	if other := p.Receive(); other != name {
		p.t.Fatalf("at barrier %q, while the other half is at %q", name, other)
	}
}

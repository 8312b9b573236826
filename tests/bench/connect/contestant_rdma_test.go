//go:build rdma

package connect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"catmint/libos"
	"catmint/rdma"
)

// The test's own executable is a contestant, too: libos, as bare.c is librdmacm alone. It takes
// the same arguments but for the hello, and commands "c PORT" in place of a port.
const roleEnv = "CATMINT_BENCH_ROLE" // connect or serve

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(roleEnv); role {
	case "":
		os.Exit(m.Run())
	case "connect":
		err = libosConnect()
	case "serve":
		err = libosServe()
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "libos:", err)
		os.Exit(1)
	}
}

// newEngine makes a libOS as the environment says, on the addresses of this host.
func newEngine() (*libos.Engine, netip.Addr, error) {
	addr, err := netip.ParseAddr(os.Getenv("SOFT_ROCE_ADDR"))
	if err != nil {
		return nil, addr, err
	}
	cfg, err := libos.ConfigFromEnv(os.Getenv)
	if err != nil {
		return nil, addr, err
	}
	p, err := libos.New(cfg, rdma.NewHardware())
	if err != nil {
		return nil, addr, err
	}
	e, err := p.NewEngine()
	return e, addr, err
}

func libosConnect() error {
	e, addr, err := newEngine()
	if err != nil {
		return err
	}
	ctx := context.Background()
	// The goroutine waits as those of programs do, in the netpoller: the runtime preempts one that
	// comes back from a long system call.
	if err := unix.SetNonblock(0, true); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.NewFile(0, "stdin")); in.Scan(); {
		port, err := strconv.ParseUint(strings.TrimPrefix(in.Text(), "c "), 10, 16)
		if err != nil {
			return err
		}
		// Whoever gave the command shall come to rest, and the scheduler, which has been woken by it:
		// what that takes is no part of a connection. In a system call, as the others wait.
		left := unix.NsecToTimespec(2 * time.Millisecond.Nanoseconds())
		for errors.Is(unix.Nanosleep(&left, &left), unix.EINTR) {
			continue // the runtime's signals
		}
		start := time.Now()
		s, err := e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		qt, err := s.Connect(netip.AddrPortFrom(addr, uint16(port)))
		if err != nil {
			return err
		}
		if _, err := e.Wait(ctx, qt); err != nil {
			return err
		}
		up := time.Now()
		fmt.Printf("up total %d\n", up.Sub(start))
		if !in.Scan() { // until the peer has heard of it, too
			return in.Err()
		}
		told := time.Now()
		if err := s.SetLinger(0); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		if err := e.Quiesce(ctx); err != nil {
			return err
		}
		fmt.Printf("down release %d\n", time.Since(told))
		p := s.Info().Phases // asks the system for the device's addresses: no part of a connection
		fmt.Printf("steps start %d addr %d qp %d route %d sent %d established %d ready %d token %d\n",
			p.Started.Sub(start), p.AddrResolved.Sub(start), p.QPReady.Sub(start), p.RouteResolved.Sub(start),
			p.Sent.Sub(start), p.Established.Sub(start), p.Ready.Sub(start), up.Sub(start))
	}
	return nil
}

func libosServe() error {
	e, addr, err := newEngine()
	if err != nil {
		return err
	}
	ctx := context.Background()
	l, err := e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := l.Bind(netip.AddrPortFrom(addr, 0)); err != nil {
		return err
	}
	if err := l.Listen(16); err != nil {
		return err
	}
	at, err := l.GetSockName()
	if err != nil {
		return err
	}
	go func() { // a server ends with its standard input
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Printf("port %d\n", at.Port())
	for {
		qt, err := l.Accept()
		if err != nil {
			return err
		}
		r, err := e.Wait(ctx, qt)
		if err != nil {
			return err
		}
		s, err := e.Process().Socket(r.Accept().QD)
		if err != nil {
			return err
		}
		fmt.Println("up")
		if qt, err = s.Pop(); err != nil {
			return err
		}
		_, _ = e.Wait(ctx, qt) // until the peer leaves
		if err := s.Close(); err != nil {
			return err
		}
		if err := e.Quiesce(ctx); err != nil {
			return err
		}
		fmt.Println("down")
		p := s.Info().Phases // asks the system for the device's addresses: no part of a connection
		fmt.Printf("steps qp %d accept %d confirm %d total %d ready %d\n", p.QPReady.Sub(p.Started), p.Sent.Sub(p.QPReady),
			p.Established.Sub(p.Sent), p.Established.Sub(p.Started), p.Ready.Sub(p.Established))
	}
}

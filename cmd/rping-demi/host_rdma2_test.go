//go:build rdma2

package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/pair"
)

// soon bounds how long a program may take to notice that its peer's host is gone: keepalive's
// 30 s, the limits of a tear-down, and a machine that is busy. rping waits for ever.
const soon = 90 * time.Second

// real is a running rping-demi of its own process.
type real struct {
	cmd      *exec.Cmd
	out, err *output
	done     chan struct{}
}

func startReal(t *testing.T, args ...string) *real {
	t.Helper()
	program := "../../build/rping-demi"
	require.FileExists(t, program, "run make build before")
	p := &real{cmd: exec.Command(program, args...), out: newOutput(), err: newOutput(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the status is looked at later
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *real) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// nobody is an Ethernet address that no device has.
const nobody = "02:00:00:00:00:99"

// ip runs ip(8), and tc runs tc(8).
func ip(t *testing.T, args ...string) { mustRun(t, exec.Command("ip", args...)) }
func tc(t *testing.T, args ...string) { mustRun(t, exec.Command("tc", args...)) }

func mustRun(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s: %s", cmd, out)
}

// TestAPeerWhoseHostDiesIsNotWaitedForForEver runs rping-demi over IPv6 between two hosts. Host
// a dies as far as IPv6 goes: what it sends to b has the address of nobody. (A route that it has
// no more would put Soft-RoCE's own management queue pair into the error state.) The test's own
// words go over IPv4.
func TestAPeerWhoseHostDiesIsNotWaitedForForEver(t *testing.T) {
	p := pair.Join(t)
	own, peer := os.Getenv("SOFT_ROCE_ADDR6"), os.Getenv("SOFT_ROCE_PEER6")
	for _, tc := range []struct {
		name     string
		onA, onB []string
		says     []string // one of them, by b
	}{
		{"client, demi", []string{"-s", "-a", own}, []string{"-c", "-a", peer, "--protocol", "demi"}, []string{"no answer", "timed out"}},
		{"client, rping", []string{"-s", "-a", own}, []string{"-c", "-a", peer, "--protocol", "rping"}, []string{"no answer"}},
		{"server, demi", []string{"-c", "-a", peer, "--protocol", "demi"}, []string{"-s", "-a", own}, []string{"timed out"}},
		{"server, rping", []string{"-c", "-a", peer, "--protocol", "rping"}, []string{"-s", "-a", own}, []string{"no answer"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mine, isServer := tc.onA, tc.onA[0] == "-s"
			if p.Host == "b" {
				mine, isServer = tc.onB, tc.onB[0] == "-s"
			}
			var prog *real
			if isServer {
				prog = startReal(t, append(mine, "-v")...)
				prog.out.await(t, "listening on", 1)
				p.Barrier("listening " + tc.name)
			} else {
				p.Barrier("listening " + tc.name)
				prog = startReal(t, append(mine, "-v")...)
			}
			prog.out.await(t, "ping data: rdma-ping-3:", 1)
			p.Barrier("pinging " + tc.name)
			if p.Host == "a" {
				netdev := os.Getenv("SOFT_ROCE_NETDEV")
				ip(t, "-6", "neigh", "replace", peer, "lladdr", nobody, "nud", "permanent", "dev", netdev)
				defer func() {
					prog.kill()
					ip(t, "-6", "neigh", "del", peer, "dev", netdev)
				}()
				p.Barrier("dead " + tc.name)
				p.Barrier("judged " + tc.name)
				return
			}
			p.Barrier("dead " + tc.name)
			begin := time.Now()
			defer p.Barrier("judged " + tc.name)
			select {
			case <-prog.done:
			case <-time.After(soon):
				assert.Fail(t, "it waits", "%v after the peer's host died; stderr: %s", soon, prog.err)
				return
			}
			t.Logf("ended after %.1f s: %s", time.Since(begin).Seconds(), prog.err)
			assert.Equal(t, exitFailure, prog.cmd.ProcessState.ExitCode())
			text := prog.err.String()
			assert.Equal(t, 1, strings.Count(text, "\n"), "one line: %q", text)
			found := false
			for _, w := range tc.says {
				found = found || strings.Contains(text, w)
			}
			assert.True(t, found, "it says why, one of %q: %s", tc.says, text)
			if !isServer {
				assert.Contains(t, prog.out.String(), "1 lost", "and the summary")
			}
		})
	}
}

// TestRetransmissionsAreInTheStatistics loses packets between a client on b and a server on a, and asks
// the client by SIGUSR1 for what it has counted until the device has sent something again.
func TestRetransmissionsAreInTheStatistics(t *testing.T) {
	p := pair.Join(t)
	if p.Host == "a" {
		server := startReal(t, "-s", "-a", os.Getenv("SOFT_ROCE_ADDR"))
		server.out.await(t, "listening on", 1)
		p.Barrier("listening")
		p.Barrier("counted")
		<-server.done
		assert.True(t, server.cmd.ProcessState.Success(), "%s", server.err)
		return
	}
	p.Barrier("listening")
	netdev := os.Getenv("SOFT_ROCE_NETDEV")
	// There before the connection: Soft-RoCE takes a packet that it sends while a queueing discipline is
	// put in or taken out for a failure of the queue pair.
	tc(t, "qdisc", "add", "dev", netdev, "root", "netem", "delay", "0ms")
	defer tc(t, "qdisc", "del", "dev", netdev, "root")
	client := startReal(t, "-c", "-a", os.Getenv("SOFT_ROCE_PEER"), "--protocol", "demi", "--stats", "-v")
	client.out.await(t, "ping data: rdma-ping-0:", 1)
	tc(t, "qdisc", "change", "dev", netdev, "root", "netem", "loss", "20%")
	for asked := 1; !strings.Contains(client.out.String(), "completer_retry_err"); asked++ {
		require.NoError(t, client.cmd.Process.Signal(syscall.SIGUSR1))
		client.out.await(t, "statistics:", asked)
	}
	tc(t, "qdisc", "change", "dev", netdev, "root", "netem", "delay", "0ms")
	require.NoError(t, client.cmd.Process.Signal(os.Interrupt))
	<-client.done
	p.Barrier("counted")
	assert.True(t, client.cmd.ProcessState.Success(), "%s", client.err)
}

//go:build rdma

package soak

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/rdmatest"
)

// scale is n, or short when the tests are told to be short.
func scale(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

func device(t *testing.T) (f *rdma.Hardware, addr netip.Addr) {
	t.Helper()
	f = rdma.NewHardware()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	addr, err := netip.ParseAddr(os.Getenv("SOFT_ROCE_ADDR"))
	require.NoError(t, err, "run with soft-roce test")
	return f, addr
}

func kernel(t *testing.T) func() (string, int) {
	return func() (string, int) { return rdmatest.KernelObjects(t) }
}

func TestFiveThousandCyclesTakeNoLongerInTheEndAndLeaveNothingBehind(t *testing.T) {
	f, addr := device(t)
	cycles(t, newParty(t, f), newParty(t, f), addr, scale(5000, 80), kernel(t))
}

func TestAThousandConnectionsLiveAtOnce(t *testing.T) {
	f, addr := device(t)
	crowdOf(t, newParty(t, f), newParty(t, f), addr, scale(1000, 60), kernel(t))
}

// process is a client of its own process.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Reader
	err   bytes.Buffer
}

func startClient(t *testing.T, at netip.AddrPort) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), clientVar+"="+at.String())
	p.cmd.Stderr = &p.err
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.lines = bufio.NewReader(out)
	require.NoError(t, p.cmd.Start())
	return p
}

// kill ends the client wherever it is.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait() // "signal: killed"
	require.Empty(t, p.err.String())
}

// finish has the client end and returns what it reports; it must not have failed.
func (p *process) finish(t *testing.T) (connects int, worst time.Duration) {
	t.Helper()
	_ = p.stdin.Close()
	out, err := io.ReadAll(p.lines)
	require.NoError(t, err)
	require.NoError(t, p.cmd.Wait(), "%s%s", out, &p.err)
	var first string
	n, err := fmt.Sscanf(string(out), "%s\n"+clientReport, &first, &connects, &worst)
	require.NoError(t, err, "%d: %q", n, out)
	return connects, worst
}

// Clients connect all at once, again and again, while one after the other is killed, in
// whatever phase it is, and another one takes its place: every other connect succeeds.
func TestAcceptKeepsUpWhileClientsAreKilled(t *testing.T) {
	f, addr := device(t)
	clients, kills, pause := scale(64, 6), scale(20, 3), time.Second
	if testing.Short() {
		pause /= 4
	}
	server := newParty(t, f)
	srv := serve(t, server, addr, 2*clients)
	first := startClient(t, srv.at)
	_, _ = first.finish(t)
	srv.settle(0)
	before := remain(t, kernel(t), server)

	var alive []*process
	for range clients {
		alive = append(alive, startClient(t, srv.at))
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for range kills {
		<-tick.C
		alive[0].kill(t)
		alive = append(alive[1:], startClient(t, srv.at))
	}
	var all int
	var worst time.Duration
	for _, p := range alive {
		n, longest := p.finish(t)
		require.NotZero(t, n)
		all += n
		worst = max(worst, longest)
	}
	st := server.p.Stats()
	t.Logf("%d clients, %d killed; %d connects by the others, the longest %v; the server accepted %d, refused %d",
		clients, kills, all, worst, st.Accepts, st.Refused)
	require.Zero(t, st.Refused)
	srv.settle(0)
	requireSameButCQs(t, before, remain(t, kernel(t), server))
	srv.stop(t)
}

//go:build rdma

package conformance

import (
	"bufio"
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// made is what `make build` left: a Soft-RoCE host is too slow to compile on.
func made(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "build", name))
	require.NoError(t, err)
	require.FileExists(t, path, "run `make build` first")
	return path
}

func hostEnv(t *testing.T, key string) string {
	t.Helper()
	value := os.Getenv(key)
	require.NotEmpty(t, value, "%s is set on a Soft-RoCE host", key)
	return value
}

// nobody is an address in the host's network that no host has.
func nobody(t *testing.T) string {
	t.Helper()
	addr, err := netip.ParseAddr(hostEnv(t, "SOFT_ROCE_ADDR"))
	require.NoError(t, err)
	raw := addr.As4()
	raw[3] = 77
	return netip.AddrFrom4(raw).String()
}

// The library for users, as `make build` leaves it, has no simulated device, whatever the
// environment says.
func TestTheProductIsTheLibraryWithoutTheSimulation(t *testing.T) {
	library := made(t, "libdemikernel.so.1")
	checkLibrary(t, filepath.Dir(library))
	content, err := os.ReadFile(library)
	require.NoError(t, err)
	require.False(t, bytes.Contains(content, []byte("sim_fabric_create")), "the simulation is in the product")
}

// Every row of the API's tables on a real driver; each case is a subtest.
func TestEveryCallAnswersAsItShouldOnADevice(t *testing.T) {
	suite := made(t, "conformance")
	groups, err := exec.Command(suite, "list").Output()
	require.NoError(t, err)
	// The last one takes two processes, which the simulation cannot have.
	for _, group := range append(strings.Fields(string(groups)), "leaving") {
		t.Run(group, func(t *testing.T) {
			cmd := exec.Command(suite, "run", hostEnv(t, "SOFT_ROCE_ADDR"), hostEnv(t, "SOFT_ROCE_ADDR6"), nobody(t), "--", group)
			if testing.Short() {
				cmd.Env = append(os.Environ(), "CONFORMANCE_MESSAGES=1000")
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
				return
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			require.Contains(t, lines[len(lines)-1], " passed, 0 failed", "%s", out)
		})
	}
}

// server is an example that serves.
type server struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// serve starts an example and waits until it says that it listens.
func serve(t *testing.T, name string, args ...string) *server {
	t.Helper()
	return serveAs(t, name, append([]string{"server"}, args...)...)
}

func serveAs(t *testing.T, name string, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	s := &server{cmd: exec.CommandContext(ctx, made(t, name), args...)}
	pipe, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	s.cmd.Stderr = &s.out
	require.NoError(t, s.cmd.Start())
	lines := bufio.NewReader(pipe)
	line, err := lines.ReadString('\n')
	require.NoError(t, err, "%s", &s.out)
	require.Contains(t, line, "listening")
	rest := make(chan string, 1)
	go func() {
		var b strings.Builder
		_, _ = lines.WriteTo(&b) // ends with the program
		rest <- b.String()
	}()
	t.Cleanup(func() {
		cancel()
		<-rest
	})
	return s
}

func (s *server) wait(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Wait(), "%s", &s.out)
}

// client runs an example's client, which must succeed, and returns what it says.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, made(t, name), append([]string{"client"}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestTheEchoExampleServesSeveralClients(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	s := serve(t, "echo", addr, "7101", "3")
	require.Contains(t, client(t, "echo", addr, "7101"), "10 messages of 64 bytes came back intact")
	require.Contains(t, client(t, "echo", addr, "7101", "50", "8176"), "50 messages of 8176 bytes came back intact")
	require.Contains(t, client(t, "echo", addr, "7101", "1", "1"), "1 messages of 1 bytes came back intact")
	s.wait(t)
}

func TestTheEchoExampleSpeaksIPv6(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR6")
	s := serve(t, "echo", addr, "7102", "1")
	require.Contains(t, client(t, "echo", addr, "7102"), "came back intact")
	s.wait(t)
}

func TestAProgramThatReturnsFromMainAfterItsLastPushLosesNothing(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	for range 3 {
		s := serve(t, "push-exit", addr, "7103", "500", "4000")
		require.Empty(t, client(t, "push-exit", addr, "7103", "500", "4000"))
		s.wait(t) // fails unless all came, intact
	}
}

func TestAProgramAsDemikernelsExamplesAreWrittenRunsUnchanged(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	s := serveAs(t, "oneway", "--server", addr, "7105", "256", "500")
	out, err := exec.Command(made(t, "oneway"), "--client", addr, "7105", "256", "500").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "128000 bytes\n", string(out))
	s.wait(t) // an assertion that fails is an abort
}

func TestThePingPongExampleMeasuresRoundTrips(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	s := serve(t, "ping-pong", addr, "7104")
	t.Log(client(t, "ping-pong", addr, "7104", "200"))
	s.wait(t)
}

func TestExamplesSayClearlyWhatIsWrong(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"echo: connect: Connection refused", []string{"client", addr, "7999"}},
		{"echo: demi_bind: Cannot assign requested address", []string{"server", "192.0.2.7", "7999"}},
		{"echo: 'nowhere' is not an IPv4 or IPv6 address", []string{"client", "nowhere", "7999"}},
		{"echo: PORT must be a number from 1 to 65535, not '0'", []string{"client", addr, "0"}},
		{"usage: echo server", []string{"clients", addr, "7999"}},
	} {
		out, err := exec.Command(made(t, "echo"), c.args...).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), c.want)
	}
}

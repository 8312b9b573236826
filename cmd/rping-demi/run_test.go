package main

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
)

func TestMain(m *testing.M) { rdmatest.Main(m) }

const (
	serverAddr  = "10.0.0.1"
	serverAddr6 = "fd00::1"
	clientAddr  = "10.0.0.2"
	clientAddr6 = "fd00::2"
)

// newHosts makes a server's and a client's host on one network.
func newHosts(t *testing.T) (server, client *sim.Host) {
	t.Helper()
	n := sim.New(sim.Config{RealTime: true})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	device := func(name, v4, v6 string) sim.DeviceConfig {
		return sim.DeviceConfig{Name: name, Addrs: []netip.Prefix{
			netip.MustParsePrefix(v4 + "/24"), netip.MustParsePrefix(v6 + "/64"),
		}}
	}
	return n.AddHost("server", device("simb", serverAddr, serverAddr6)),
		n.AddHost("client", device("sima", clientAddr, clientAddr6))
}

// output collects what a program prints and lets a test wait for a piece of it.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	news chan struct{} // closed and made anew with each write
}

func newOutput() *output { return &output{news: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.news)
	o.news = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until want has been printed n times.
func (o *output) await(t *testing.T, want string, n int) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		o.mu.Lock()
		seen, news := strings.Count(o.buf.String(), want), o.news
		o.mu.Unlock()
		if seen >= n {
			return
		}
		select {
		case <-news:
		case <-limit:
			require.FailNow(t, "was not printed", "%q %d times, in:\n%s", want, n, o)
		}
	}
}

// program is a running rping-demi.
type program struct {
	out, err *output
	stop     context.CancelFunc
	code     chan int
}

func start(t *testing.T, f rdma.Fabric, args ...string) *program {
	t.Helper()
	stop, cancel := context.WithCancel(context.Background())
	p := &program{out: newOutput(), err: newOutput(), stop: cancel, code: make(chan int, 1)}
	go func() { p.code <- run(stop, args, nil, f, p.out, p.err) }()
	t.Cleanup(cancel)
	return p
}

// exit waits for the program's end and checks its status.
func (p *program) exit(t *testing.T, want int) {
	t.Helper()
	select {
	case code := <-p.code:
		require.Equal(t, want, code, "stdout:\n%s\nstderr:\n%s", p.out, p.err)
	case <-time.After(time.Minute):
		require.FailNow(t, "did not end", "stdout:\n%s\nstderr:\n%s", p.out, p.err)
	}
}

func startServer(t *testing.T, f rdma.Fabric, args ...string) *program {
	t.Helper()
	s := start(t, f, append([]string{"-s"}, args...)...)
	s.out.await(t, "listening on", 1)
	return s
}

func TestServerAndClientPingAndBothSayHowItWent(t *testing.T) {
	for name, addrs := range map[string][2]string{
		"IPv4": {serverAddr, clientAddr}, "IPv6": {serverAddr6, clientAddr6},
	} {
		t.Run(name, func(t *testing.T) {
			sh, ch := newHosts(t)
			s := startServer(t, sh, "-a", addrs[0], "-v")
			c := start(t, ch, "-c", "-a", addrs[0], "-I", addrs[1], "-C", "3", "-v", "-V", "-S", "17")
			c.exit(t, exitOK)
			s.exit(t, exitOK)
			for _, want := range []string{
				"device sima port 1, GID " + map[string]string{"IPv4": "::ffff:10.0.0.2", "IPv6": "fd00::2"}[name] + "\n", "address resolved", "route resolved", "QP ready", "established",
				"ping data: rdma-ping-2: CDE\n", "3 pings of 17 bytes: 3 intact, 0 lost", "round trip: min",
			} {
				assert.Contains(t, c.out.String(), want)
			}
			for _, want := range []string{", device simb port 1, GID ", ", established in ", "server ping data: rdma-ping-0: ABC\n", "3 pings from"} {
				assert.Contains(t, s.out.String(), want)
			}
			assert.Empty(t, c.err.String()+s.err.String())
		})
	}
}

func TestAPersistentServerServesManyClientsUntilInterrupted(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-P")
	const n = 8
	var clients []*program
	for range n {
		clients = append(clients, start(t, ch, "-c", "-a", serverAddr, "-C", "20", "-V"))
	}
	for _, c := range clients {
		c.exit(t, exitOK)
	}
	s.out.await(t, "20 pings from", n)
	s.stop()
	s.exit(t, exitOK)
	assert.Empty(t, s.err.String())
}

func TestASecondClientOfASingleShotServerIsRefused(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh)
	first := start(t, ch, "-c", "-a", serverAddr, "-v")
	first.out.await(t, "ping data", 1)
	second := start(t, ch, "-c", "-a", serverAddr, "-C", "1")
	second.exit(t, exitFailure)
	assert.Contains(t, second.err.String(), "refused")
	first.stop()
	first.exit(t, exitOK)
	assert.Contains(t, first.out.String(), "0 lost")
	s.exit(t, exitOK)
}

func TestAnInterruptedCountedRunFails(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh)
	c := start(t, ch, "-c", "-a", serverAddr, "-C", "1000000000", "-v")
	c.out.await(t, "ping data", 2)
	c.stop()
	c.exit(t, exitFailure)
	assert.Contains(t, c.err.String(), "interrupted after")
	s.exit(t, exitOK)
}

func TestWhatStopsPeopleIsSaidInOneLineWithAHint(t *testing.T) {
	sh, ch := newHosts(t)
	empty := sh.Network().AddHost("without")
	for _, tc := range []struct {
		name   string
		fabric rdma.Fabric
		args   string
		code   int
		want   []string
	}{
		{"families differ", ch, "-c -a 10.0.0.1 -I fd00::2", exitUsage, []string{"-I fd00::2 and -a 10.0.0.1", "IPv4", "IPv6"}},
		{"no RDMA device", empty, "-c -a 10.0.0.1", exitNoDevice, []string{"no RDMA device"}},
		{"nobody listens", ch, "-c -a 10.0.0.1", exitFailure, []string{"connection refused", "is the server running"}},
		{"address not local", sh, "-s -a 10.0.0.9", exitFailure, []string{"bind 10.0.0.9:7174: not an address of an RDMA"}},
		{"source not local", ch, "-c -a 10.0.0.1 -I 10.0.0.9", exitFailure, []string{"bind 10.0.0.9:0: not an address"}},
		{"client to loopback", ch, "-c -a 127.0.0.1", exitFailure, []string{"loopback", "rdma link"}},
		{"server on loopback", sh, "-s -a ::1", exitFailure, []string{"loopback", "rdma link"}},
		{"no route", ch, "-c -a 192.0.2.1", exitFailure, []string{"192.0.2.1", "rdma link"}},
		{"bad name", ch, "-c -a no.such.host.invalid", exitName, []string{"no.such.host.invalid does not resolve", "numeric"}},
		{"wrong command line", ch, "-c", exitUsage, []string{"-a ADDRESS", "--help"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, tc.fabric, strings.Fields(tc.args)...)
			p.exit(t, tc.code)
			assert.Equal(t, 1, strings.Count(p.err.String(), "\n"), "one line: %q", p.err)
			for _, want := range append(tc.want, "rping-demi: ") {
				assert.Contains(t, p.err.String(), want)
			}
		})
	}
}

func TestABadEnvironmentVariableIsNamed(t *testing.T) {
	_, ch := newHosts(t)
	var out, errOut bytes.Buffer
	code := run(t.Context(), []string{"-c", "-a", serverAddr}, []string{"HOME=/", "DEMI_WAIT=often"}, ch, &out, &errOut)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut.String(), `DEMI_WAIT="often"`)
}

func TestAMisspeltEnvironmentVariableIsNamedAndBreaksNothing(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh)
	var out, errOut bytes.Buffer
	env := []string{"DEMI_RECV_SZIE=4096"}
	code := run(t.Context(), []string{"-c", "-a", serverAddr, "-C", "1"}, env, ch, &out, &errOut)
	assert.Equal(t, exitOK, code)
	assert.Equal(t, `catmint: unknown variable "DEMI_RECV_SZIE" is ignored: did you mean DEMI_RECV_SIZE?
`, errOut.String())
	errOut.Reset()
	assert.Equal(t, exitOK, run(t.Context(), []string{"--help-env"}, env, ch, &out, &errOut))
	assert.Empty(t, errOut.String(), "who asks for help uses none")
	s.exit(t, exitOK)
}

func TestTooLargeASizeIsSaidWithTheLimit(t *testing.T) {
	sh, ch := newHosts(t)
	stop, cancel := context.WithCancel(context.Background())
	s := &program{out: newOutput(), err: newOutput(), stop: cancel, code: make(chan int, 1)}
	t.Cleanup(cancel)
	env := []string{"DEMI_MAX_MESSAGE=65536"}
	go func() { s.code <- run(stop, []string{"-s"}, env, sh, s.out, s.err) }()
	s.out.await(t, "listening on", 1)
	c := start(t, ch, "-c", "-a", serverAddr, "-C", "1", "-S", "65537")
	c.exit(t, exitUsage)
	assert.Contains(t, c.err.String(), "smaller -S")
	s.exit(t, exitOK)
}

func TestLargePingsComeBack(t *testing.T) {
	for _, size := range []string{"8177", "1000000"} {
		sh, ch := newHosts(t)
		s := startServer(t, sh)
		c := start(t, ch, "-c", "-a", serverAddr, "-C", "3", "-V", "-S", size)
		c.exit(t, exitOK)
		s.exit(t, exitOK)
	}
}

func TestTwoServersOnOnePortAreToldApart(t *testing.T) {
	sh, _ := newHosts(t)
	first := startServer(t, sh, "-a", serverAddr)
	second := start(t, sh, "-s", "-a", serverAddr)
	second.exit(t, exitFailure)
	assert.Contains(t, second.err.String(), "another program listens there")
	first.stop()
	first.exit(t, exitOK)
}

func TestDebugLogsToStandardError(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh)
	c := start(t, ch, "-c", "-a", serverAddr, "-C", "1", "-d")
	c.exit(t, exitOK)
	assert.Contains(t, c.err.String(), "level=")
	s.exit(t, exitOK)
}

func TestHelpExitsWell(t *testing.T) {
	var out bytes.Buffer
	assert.Equal(t, exitOK, run(t.Context(), []string{"--help"}, nil, nil, &out, &out))
	assert.Contains(t, out.String(), "Options:")
}

func TestPingsOfManySizesNeedNoMoreMemoryThanOne(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh)
	c := start(t, ch, "-c", "-a", serverAddr, "--size-sweep", "1:1M", "-C", "3", "-V", "--protocol", "demi")
	c.exit(t, exitOK)
	s.exit(t, exitOK)
	assert.Contains(t, c.out.String(), "\n   1048576       3 ")
	assert.Empty(t, c.err.String()+s.err.String())
}

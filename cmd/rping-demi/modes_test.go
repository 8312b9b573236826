package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/libos"
	"catmint/rdma"
)

// measure runs a client to its good end against a persistent server and returns what it
// prints.
func measure(t *testing.T, args ...string) string {
	t.Helper()
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-P")
	c := start(t, ch, append([]string{"-c", "-a", serverAddr}, args...)...)
	c.exit(t, exitOK)
	s.stop()
	s.exit(t, exitOK)
	assert.Empty(t, c.err.String()+s.err.String())
	return c.out.String()
}

func TestManyPingsInFlightComeBackIntact(t *testing.T) {
	for mode, size := range map[string]string{"rate": "64", "bandwidth": "4096"} {
		out := measure(t, "--mode", mode, "-C", "500", "-V")
		assert.Contains(t, out, "500 pings of "+size+" bytes: 500 intact, 0 lost")
		assert.Contains(t, out, "MB/s each way")
	}
}

func TestManyPingsInFlightOverManyConnections(t *testing.T) {
	out := measure(t, "--mode", "rate", "-C", "100", "-V", "--connections", "3")
	assert.Contains(t, out, "300 pings of 64 bytes: 300 intact, 0 lost")
}

func TestOnePingAfterTheOtherOverManyConnections(t *testing.T) {
	for _, proto := range []string{"demi", "rping"} {
		out := measure(t, "-C", "25", "-V", "--connections", "4", "--protocol", proto)
		assert.Contains(t, out, "100 pings of 64 bytes: 100 intact, 0 lost")
	}
}

func TestConnectionsAreMadeAndClosed(t *testing.T) {
	for _, proto := range []string{"demi", "rping", "auto"} {
		out := measure(t, "--mode", "connect", "-C", "10", "--protocol", proto)
		assert.Contains(t, out, "10 connections: 10 made, 0 failed\nto connect: min ")
		assert.Contains(t, out, "connections/s")
	}
}

func TestConnectionsToAServerOfOneClientFailWithAHint(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh)
	c := start(t, ch, "-c", "-a", serverAddr, "--mode", "connect", "-C", "10", "--protocol", "demi")
	c.exit(t, exitFailure)
	s.exit(t, exitOK)
	assert.Contains(t, c.err.String(), "serves many: -P")
}

func TestASweepHasARowForEachSize(t *testing.T) {
	for _, proto := range []string{"demi", "rping"} {
		out := measure(t, "--size-sweep", "32:4K", "-C", "5", "-V", "--protocol", proto)
		for _, line := range strings.Split(out[strings.Index(out, "bytes "):], "\n") {
			assert.Less(t, len(line), usualColumns, line)
		}
		for _, row := range []string{"bytes   pings", "\n        32       5 ", "\n      4096       5 "} {
			assert.Contains(t, out, row)
		}
	}
}

func TestARunEndsWithItsTime(t *testing.T) {
	for _, mode := range []string{"latency", "rate", "connect"} {
		out := measure(t, "--duration", "50ms", "-C", "100000000", "--mode", mode)
		assert.Contains(t, out, " 0 ")
	}
}

func TestJSONIsOneLineForScripts(t *testing.T) {
	sh, ch := newHosts(t)
	s := start(t, sh, "-s", "--json")
	var r report
	for {
		c := start(t, ch, "-c", "-a", serverAddr, "-C", "7", "-V", "--json", "--protocol", "rping")
		code := <-c.code
		r = report{}
		require.NoError(t, json.Unmarshal([]byte(c.out.String()), &r), c.out.String())
		if code == exitOK {
			break
		}
		require.Contains(t, r.Error, "refused", "the server does not listen yet")
	}
	assert.Equal(t, modeLatency, r.Mode)
	assert.Equal(t, protocolRping, r.Protocol)
	assert.Equal(t, []int{64, 7, 7, 0}, []int{r.Size, r.Sent, r.Intact, r.Lost})
	assert.Equal(t, "sima", r.Device)
	assert.Positive(t, r.RoundTrips.P999)
	assert.Empty(t, r.Error)

	s.exit(t, exitOK)
	require.NoError(t, json.Unmarshal([]byte(s.out.String()), &r), s.out.String())
	assert.Equal(t, modeServer, r.Mode)
	assert.Equal(t, 7, r.Intact)
}

func TestManyInFlightNeedsAServerOfOurs(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "--protocol", "rping")
	c := start(t, ch, "-c", "-a", serverAddr, "--mode", "rate", "-C", "1")
	c.exit(t, exitFailure)
	assert.Contains(t, c.err.String(), "does not speak the Demikernel protocol")
	s.stop()
	s.exit(t, exitOK)
}

func TestAHistogramHasABarForEachPowerOfTwo(t *testing.T) {
	out := measure(t, "-C", "20", "--histogram")
	assert.Contains(t, out, "  < ")
	assert.Contains(t, out, strings.Repeat("#", histogramWidth))
}

// listenMute listens, accepts one connection and says nothing on it.
func listenMute(t *testing.T, host rdma.Fabric) {
	t.Helper()
	cfg, err := libos.ConfigFromEnv(func(string) string { return "" })
	require.NoError(t, err)
	process, err := libos.New(cfg, host)
	require.NoError(t, err)
	engine, err := process.NewEngine()
	require.NoError(t, err)
	at := netip.AddrPortFrom(netip.MustParseAddr(serverAddr), defaultPort)
	lis, err := newSocket(engine, at)
	require.NoError(t, err)
	require.NoError(t, lis.Bind(at))
	require.NoError(t, lis.Listen(1))
	qt, err := lis.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := lis.wait(t.Context(), qt)
		assert.True(t, err == nil || t.Context().Err() != nil, "%v", err)
		require.NoError(t, process.Close())
	})
}

func TestAServerThatNeverAnswersIsGivenUpInEveryMode(t *testing.T) {
	for _, mode := range []string{"latency", "rate", "bandwidth"} {
		t.Run(mode, func(t *testing.T) {
			sh, ch := newHosts(t)
			listenMute(t, sh)
			c := start(t, ch, "-c", "-a", serverAddr, "--mode", mode, "--timeout", "50ms", "-C", "1000")
			c.exit(t, exitFailure)
			assert.Equal(t, "rping-demi: ping 0: no answer within 50ms\n", c.err.String())
			assert.Regexp(t, ` 0 came back, [1-9]\d* lost\n`, c.out.String())
		})
	}
}

func TestALargeMessageIsGivenMoreTime(t *testing.T) {
	o := options{timeout: time.Second, size: 64}
	assert.Equal(t, time.Second, o.patience())
	o.size = 1 << 30
	assert.Equal(t, 513*time.Second, o.patience())
}

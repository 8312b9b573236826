package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOptionsReadRpingsFlagsWithRpingsMeaning(t *testing.T) {
	o, err := parseOptions([]string{"-c", "-a", "192.0.2.1", "-p", "9", "-C", "10", "-S", "100", "-vVd"}, nil)
	require.NoError(t, err)
	assert.Equal(t, options{
		client: true, address: "192.0.2.1", port: 9, count: 10, size: 100,
		verbose: true, validate: true, debug: true, timeout: 10 * time.Second, protocol: protocolAuto,
		mode: modeLatency, connections: 1,
	}, o)

	o, err = parseOptions([]string{"-c", "-a", "h", "-B", "192.0.2.2", "-q"}, nil)
	require.NoError(t, err)
	assert.Equal(t, "192.0.2.2", o.bind)

	o, err = parseOptions([]string{"-sPa", "::"}, nil)
	require.NoError(t, err)
	assert.Equal(t, options{
		server: true, persistent: true, address: "::", port: 7174, size: 64, timeout: 10 * time.Second,
		protocol: protocolAuto, mode: modeLatency, connections: 1,
	}, o)
}

func TestOptionsHaveLongNames(t *testing.T) {
	o, err := parseOptions([]string{
		"--client", "--address=h", "--port=1", "--count=2", "--size=3",
		"--verbose", "--validate", "--debug", "--bind=b", "--timeout=1s", "--protocol=demi",
	}, nil)
	require.NoError(t, err)
	assert.Equal(t, options{
		client: true, address: "h", bind: "b", port: 1, count: 2, size: 3,
		verbose: true, validate: true, debug: true, timeout: time.Second, protocol: protocolDemi,
		mode: modeLatency, connections: 1,
	}, o)
}

func TestAWrongCommandLineSaysWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"neither side", nil, "either -s"},
		{"both sides", []string{"-s", "-c"}, "either -s"},
		{"no address", []string{"-c"}, "-a ADDRESS"},
		{"blank address", []string{"-c", "-a", " "}, "-a ADDRESS"},
		{"unknown flag", []string{"-s", "-Z"}, "'Z'"},
		{"unknown long flag", []string{"--sever"}, "--sever"},
		{"port zero", []string{"-s", "-p", "0"}, "port 0"},
		{"port too large", []string{"-s", "-p", "65536"}, "port 65536"},
		{"port not a number", []string{"-s", "-p", "http"}, "http"},
		{"size zero", []string{"-c", "-a", "h", "-S", "0"}, "size 0"},
		{"size too large", []string{"-c", "-a", "h", "-S", "1073741825"}, "size 1073741825"},
		{"negative count", []string{"-c", "-a", "h", "-C", "-1"}, "count -1"},
		{"persistent client", []string{"-c", "-a", "h", "-P"}, "-P is for a server"},
		{"bound server", []string{"-s", "-I", "h"}, "-I is for a client"},
		{"stock's unhandled flag", []string{"-s", "-t", "1"}, "'t'"},
		{"stray word", []string{"-s", "192.0.2.1"}, `"192.0.2.1"`},
		{"unknown protocol", []string{"-s", "--protocol", "tcp"}, "auto, demi or rping"},
		{"size that rping does not take", []string{"-c", "-a", "h", "-S", "22", "--protocol", "rping"}, "23 to 65535"},
		{"unknown mode", []string{"-c", "-a", "h", "--mode", "fast"}, `"fast" is not latency`},
		{"unknown wait", []string{"-c", "-a", "h", "--wait", "long"}, `"long" is not spin`},
		{"negative duration", []string{"-c", "-a", "h", "--duration", "-1s"}, "duration -1s"},
		{"no connections", []string{"-c", "-a", "h", "--connections", "0"}, "connections 0"},
		{"server with a client's mode", []string{"-s", "--mode", "rate"}, "for a client"},
		{"connections in mode connect", []string{"-c", "-a", "h", "--mode", "connect", "--connections", "2"}, "one connection after"},
		{"many in flight with rping", []string{"-c", "-a", "h", "--mode", "rate", "--protocol", "rping"}, "rping's protocol one"},
		{"sweep without end", []string{"-c", "-a", "h", "--size-sweep", "64"}, "FIRST:LAST"},
		{"sweep upside down", []string{"-c", "-a", "h", "--size-sweep", "2K:1K"}, "FIRST:LAST"},
		{"sweep from nothing", []string{"-c", "-a", "h", "--size-sweep", "0:1K"}, "FIRST:LAST"},
		{"sweep beyond the limit", []string{"-c", "-a", "h", "--size-sweep", "1:2G"}, "FIRST:LAST"},
		{"a doctor that serves", []string{"--doctor", "-s"}, "--server does not go with --doctor"},
		{"metrics without a port", []string{"-s", "--metrics", "localhost"}, "HOST:PORT"},
		{"timeline of many connects", []string{"-c", "-a", "h", "--mode", "connect", "--timeline"}, "single connections"},
		{"zero time-out", []string{"-c", "-a", "h", "--timeout", "0s"}, "timeout 0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseOptions(tc.args, nil)
			var usage *usageError
			require.ErrorAs(t, err, &usage)
			assert.Contains(t, err.Error(), tc.want)
		})
	}
}

func TestASweepHasThePowersBetweenItsEnds(t *testing.T) {
	for in, want := range map[string][]int{
		"64:512": {64, 128, 256, 512}, "1:1": {1}, "3:10": {3, 6, 10}, "1k:4K": {1024, 2048, 4096}, "1G:1G": {1 << 30},
	} {
		got, err := parseSweep(in)
		require.NoError(t, err)
		assert.Equal(t, want, got, in)
	}
}

func TestModeBandwidthHasLargerPings(t *testing.T) {
	o, err := parseOptions([]string{"-c", "-a", "h", "--mode", "bandwidth"}, nil)
	require.NoError(t, err)
	assert.Equal(t, bandwidthSize, o.size)
	o, err = parseOptions([]string{"-c", "-a", "h", "--mode", "bandwidth", "-S", "64"}, nil)
	require.NoError(t, err)
	assert.Equal(t, 64, o.size)
}

func TestHelpShowsHowToStartBothSides(t *testing.T) {
	var out bytes.Buffer
	_, err := parseOptions([]string{"--help"}, &out)
	require.ErrorIs(t, err, errHelp)
	for _, want := range []string{"rping-demi --server", "rping-demi --client --address", "-S, --size", "rdma link add", "Exit status"} {
		assert.Contains(t, out.String(), want)
	}
}

func FuzzOptionsNeverPanic(f *testing.F) {
	f.Add("-c", "-a", "h")
	f.Add("-s", "-p", "70000")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		o, err := parseOptions([]string{a, b, c}, &bytes.Buffer{})
		if err == nil {
			assert.True(t, o.doctor || o.server != o.client)
			assert.Positive(t, o.size)
			assert.NotZero(t, o.port)
		}
	})
}

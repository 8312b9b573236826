package conformance

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/libos/metrics/metricstest"
)

// forker starts a C program that knows nothing of metrics. It returns what it says, and what
// ends it and returns its standard error.
func forker(t *testing.T, addr string) (lines []string, end func() string) {
	t.Helper()
	cmd := buildProgram(t, "forker")
	cmd.Env = append(cmd.Env, "DEMI_FABRIC=sim", "DEMI_METRICS_ADDR="+addr)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	for r := bufio.NewScanner(stdout); len(lines) < 2 && r.Scan(); {
		lines = append(lines, r.Text())
	}
	return lines, func() string {
		require.NoError(t, stdin.Close())
		require.NoError(t, cmd.Wait(), "%s", errs.String())
		return errs.String()
	}
}

func TestACProgramServesMetricsByItsEnvironmentAloneAndAChildDoesNot(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := free.Addr().String()
	require.NoError(t, free.Close())
	lines, end := forker(t, at)
	require.Equal(t, []string{"child: 0", "parent: 1"}, lines)

	families := metricstest.Get(t, "http://"+at+"/metrics")
	assert.Contains(t, families, "catmint_connections")
	assert.Empty(t, end())
}

func TestACProgramGoesOnWhereMetricsCannotBeServed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, taken.Close()) })
	lines, end := forker(t, taken.Addr().String())
	require.Equal(t, []string{"child: 0", "parent: 0"}, lines)
	stderr := end()
	assert.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	assert.Contains(t, stderr, "address already in use; the program goes on")
}

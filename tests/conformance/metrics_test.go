package conformance

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forker starts a C program that knows nothing of metrics. It returns what it says, and what
// ends it and returns its standard error.
func forker(t *testing.T, addr string) (lines []string, end func() string) {
	t.Helper()
	dir := folder(t)
	bin := filepath.Join(t.TempDir(), "forker")
	out, err := exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-I"+filepath.Join(root, "include"),
		"programs/forker.c", "-L"+dir, "-ldemikernel", "-o", bin).CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir, "DEMI_FABRIC=sim", "DEMI_METRICS_ADDR="+addr)
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

	resp, err := http.Get("http://" + at + "/metrics")
	require.NoError(t, err)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
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

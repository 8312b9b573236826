//go:build rdma

package connect

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The stock tools take turns with the contestants, in processes of their own, which make many
// connections at once: what they say of one is its share.
const (
	toolConns    = 20
	toolPatience = time.Minute
)

// runTool runs a server and a client of a tool and returns what the client printed, and how
// long it ran.
func runTool(tb testing.TB, port string, tool ...string) ([]byte, time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), toolPatience)
	defer cancel()
	addr := os.Getenv("SOFT_ROCE_ADDR")
	arguments := func(at ...string) []string { return append(append(tool[1:len(tool):len(tool)], "-p", port), at...) }
	server := exec.CommandContext(ctx, tool[0], arguments("-b", addr)...)
	require.NoError(tb, server.Start())
	defer func() { // cmtime's may wait for its client's next connections
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	require.Eventually(tb, func() bool {
		out, err := exec.CommandContext(ctx, "rdma", "resource", "show", "cm_id").Output()
		return err == nil && listens(string(out), port)
	}, toolPatience, 20*time.Millisecond, "%v listens", tool)
	client := exec.CommandContext(ctx, tool[0], arguments("-s", addr)...)
	start := time.Now()
	out, err := client.CombinedOutput()
	require.NoError(tb, err, "%v: %s", tool, out)
	return out, time.Since(start)
}

// listens finds a listener in what rdma(8) shows.
func listens(ids, port string) bool {
	for line := range strings.Lines(ids) {
		if strings.Contains(line, "LISTEN") && strings.Contains(line, ":"+port+" ") {
			return true
		}
	}
	return false
}

// cmtime is its time per connection until established, and each step.
func cmtime(tb testing.TB) figures {
	tb.Helper()
	out, _ := runTool(tb, "7991", "cmtime", "-c", "20")
	f, err := readCMTime(bytes.NewReader(out))
	require.NoError(tb, err, "%s", out)
	f[total] = f.sum("create id", "resolve addr", "resolve route", "create qp", "connect")
	return f
}

// ucmatose prints no times. One connection more, set up, used for nothing and torn down, is what
// a process with many takes longer than one with one.
func ucmatose(tb testing.TB) figures {
	tb.Helper()
	_, one := runTool(tb, "7992", "ucmatose", "-c", "1", "-C", "0")
	_, many := runTool(tb, "7993", "ucmatose", "-c", "21", "-C", "0")
	return figures{"one": float64(one), "more": float64(many-one) / toolConns}
}

//go:build rdma

package connect

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// match is a pair of contestants.
type match struct{ client, server contestant }

func (m match) String() string { return m.client.name + " -> " + m.server.name }

var matches = []match{
	{bareCM, bareCM},
	{plain, bareCM},
	{pooling, bareCM},
	{bareCM, plain},
	{bareCM, pooling},
	{library, bareCM},
	{bareCM, library},
}

func rounds(tb testing.TB) int {
	tb.Helper()
	s := os.Getenv("CATMINT_ROUNDS")
	if s == "" {
		return 40
	}
	n, err := strconv.Atoi(s)
	require.NoError(tb, err, "CATMINT_ROUNDS")
	return n
}

// BenchmarkConnect lets the contestants take turns, in another order each round, and prints what
// they took: medians with their quartiles, and the ratio to librdmacm alone of the same round.
func BenchmarkConnect(b *testing.B) {
	if b.N > 1 {
		return // one run has rounds of its own
	}
	in := build(b)
	servers, clients := map[string]*process{}, map[string]*process{}
	for _, m := range matches {
		if servers[m.server.name] == nil {
			servers[m.server.name] = start(b, in, m.server, "serve")
		}
		if clients[m.client.name] == nil {
			clients[m.client.name] = start(b, in, m.client, "connect")
		}
	}
	active, passive := map[string][]figures{}, map[string][]figures{}
	const warmUp = 2
	tools := map[string][]figures{}
	for round := range rounds(b) + warmUp {
		for _, i := range rand.Perm(len(matches)) {
			m := matches[i]
			<-time.After(pause)
			a, p := cycleOf(b, clients[m.client.name], servers[m.server.name])
			if round >= warmUp {
				active[m.String()], passive[m.String()] = append(active[m.String()], a), append(passive[m.String()], p)
			}
		}
		if round >= warmUp && round%toolsEvery == 0 {
			tools["cmtime"] = append(tools["cmtime"], cmtime(b))
			tools["ucmatose"] = append(tools["ucmatose"], ucmatose(b))
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d rounds; medians (quartiles), microseconds\n", rounds(b))
	first := matches[0].String()
	for _, m := range matches {
		name := m.String()
		table(&out, name+", connecting side", active[name], active[first])
		if !m.server.c { // which knows no times
			table(&out, name+", accepting side", passive[name], passive[first])
		}
	}
	fmt.Fprintf(&out, "cmtime -c %d, share of one connection (all of them take each step at once)\n", toolConns)
	steps(&out, tools["cmtime"])
	fmt.Fprintf(&out, "ucmatose -C 0: a process with one connection; one connection more, with its end\n")
	steps(&out, tools["ucmatose"])
	fmt.Println(out.String())
}

const (
	toolsEvery = 4 // rounds
	// pause is for the work that a connection leaves behind, such as another queue pair for the
	// pool: it is not to fall into the time of whoever is next.
	pause = 50 * time.Millisecond
)

// table prints the steps of one side and the ratio of the whole to that of librdmacm alone.
func table(out *strings.Builder, title string, rows, alone []figures) {
	fmt.Fprintf(out, "%s\n", title)
	steps(out, rows)
	r := spreadOf(ratios(column(rows, total), column(alone, total)))
	fmt.Fprintf(out, "  total to rdma_cm alone: %s; goals: %s, %s\n", r, r.verdict(1.1), r.verdict(1))
}

func steps(out *strings.Builder, rows []figures) {
	if len(rows) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(rows[0])) {
		s := spreadOf(column(rows, name))
		fmt.Fprintf(out, "  %-13s %7.0f (%.0f to %.0f)\n", name, s.median/1e3, s.low/1e3, s.high/1e3)
	}
}

const total = "total" // the step that is the whole

func column(rows []figures, name string) []float64 {
	var v []float64
	for _, r := range rows {
		v = append(v, r[name])
	}
	return v
}

// counters are the device's: packets, and CM messages by kind.
func counters(tb testing.TB) map[string]int {
	tb.Helper()
	out := map[string]int{}
	port := filepath.Join("/sys/class/infiniband", os.Getenv("SOFT_ROCE_DEVICE"), "ports/1")
	for _, pattern := range []string{"hw_counters/*_pkts", "cm_tx_msgs/*", "cm_tx_retries/*"} {
		files, err := filepath.Glob(filepath.Join(port, pattern))
		require.NoError(tb, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(tb, err)
			n, err := strconv.Atoi(strings.TrimSpace(string(b)))
			require.NoError(tb, err)
			out[strings.TrimPrefix(f, port+"/")] = n
		}
	}
	return out
}

package instr

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/datapath/ctest"
)

var report = flag.String("report", "", "write the figures to this `file`")

// What a message may cost over raw verbs: as recorded in docs/benchmarks.md (gcc 12, amd64).
// Lower them when a change makes messages cheaper.
const (
	ceilingPingPong = 147
	ceilingOneWay   = 225
	// Over raw verbs that send by ibv_wr_start(3) as the engine does, and on a provider without
	// it, where both call ibv_post_send.
	ceilingOverWR   = 237
	ceilingPostSend = 209
	tolerance       = 1.05

	goal = 150 // of ping-pong, whatever is recorded
)

// As in instr.c.
const (
	blocks   = 11
	messages = 1024 // in a block
)

// wrapped are the functions that calls.c counts.
const wrapped = "malloc calloc realloc aligned_alloc free syscall read write ppoll mmap clock_gettime"

// build makes the program with the flags that cgo gives the library.
func build(t *testing.T) string {
	t.Helper()
	p := ctest.Program{Includes: []string{"rdma", "datapath/wire", "qtoken", "tests/bench/instr/testdata"}}
	for _, pattern := range []string{"datapath/*.c", "rdma/sim/sim_*.c", "tests/bench/instr/testdata/*.c"} {
		files, err := filepath.Glob(filepath.Join(ctest.Root(t), pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, f := range files {
			rel, err := filepath.Rel(ctest.Root(t), f)
			require.NoError(t, err)
			p.Sources = append(p.Sources, rel)
		}
	}
	for _, f := range strings.Fields(wrapped) {
		p.Libs = append(p.Libs, "-Wl,--wrap="+f)
	}
	return ctest.Build(t, p, "-O2", "-fPIC")
}

// cost is what one message of a kind costs: the block with the median.
func cost(t *testing.T, bin string, kind ...string) *profile {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dump")
	args := append([]string{"--tool=callgrind", "--collect-atstart=no", "--callgrind-out-file=" + out, bin}, kind...)
	text, err := exec.Command("valgrind", args...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	var all []*profile
	for i := 1; i <= blocks; i++ {
		f, err := os.Open(fmt.Sprintf("%s.%d", out, i))
		require.NoError(t, err)
		p, err := parseProfile(f)
		f.Close()
		require.NoError(t, err)
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *profile) int { return int(a.total) - int(b.total) })
	return all[blocks/2]
}

func perMessage(n uint64) float64 { return float64(n) / messages }

// table writes where the instructions of a message go, the dearest function first.
func table(w io.Writer, title string, p *profile) {
	fmt.Fprintf(w, "%s: %.1f instructions for a message\n", title, perMessage(p.total))
	var functions []string
	for f := range p.functions {
		functions = append(functions, f)
	}
	slices.SortFunc(functions, func(a, b string) int {
		if d := int(p.functions[b]) - int(p.functions[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, f := range functions {
		if perMessage(p.functions[f]) >= 0.5 {
			fmt.Fprintf(w, "%10.1f  %s\n", perMessage(p.functions[f]), f)
		}
	}
	fmt.Fprintln(w)
}

func TestAMessageCostsNoMoreThanRecorded(t *testing.T) {
	t.Parallel()
	bin := build(t)
	var text strings.Builder
	over := map[string]int{}
	compare := func(name, engine, raw string) {
		e, r := cost(t, bin, engine), cost(t, bin, raw)
		table(&text, "raw verbs, "+name, r)
		table(&text, "engine, "+name, e)
		over[name] = int(perMessage(e.total) - perMessage(r.total) + 0.5)
	}
	compare("both by ibv_post_send", "engine-post-ping-pong", "raw-ping-pong")
	compare("both by ibv_wr_start", "engine-ping-pong", "raw-wr-ping-pong")
	compare("one way", "engine-one-way", "raw-one-way")
	compare("ping-pong", "engine-ping-pong", "raw-ping-pong")
	for _, name := range []string{"both by ibv_post_send", "both by ibv_wr_start"} {
		fmt.Fprintf(&text, "%s: %d\n", name, over[name])
	}
	fmt.Fprintf(&text, "one way, a window of 64, a bare CREDIT for 32 messages: %d\n", over["one way"])
	fmt.Fprintf(&text, "instructions per 64 B message over raw verbs: %d\n", over["ping-pong"])
	t.Log(text.String())
	assert.LessOrEqual(t, float64(over["ping-pong"]), min(goal, tolerance*ceilingPingPong))
	assert.LessOrEqual(t, float64(over["one way"]), tolerance*ceilingOneWay)
	assert.LessOrEqual(t, float64(over["both by ibv_wr_start"]), tolerance*ceilingOverWR)
	assert.LessOrEqual(t, float64(over["both by ibv_post_send"]), tolerance*ceilingPostSend)
	if *report != "" {
		require.NoError(t, os.WriteFile(*report, []byte(text.String()), 0o644))
	}
}

func TestTheCostDoesNotDependOnTheNumberOfTokensAlive(t *testing.T) {
	t.Parallel()
	bin := build(t)
	few, many := cost(t, bin, "engine-ping-pong", "10"), cost(t, bin, "engine-ping-pong", "10000")
	assert.Equal(t, few.total, many.total)
}

func TestThePollOfAnAwaitedTokenDoesNotGrowWithIdleConnections(t *testing.T) {
	t.Parallel()
	bin := build(t)
	few, many := cost(t, bin, "poll", "2"), cost(t, bin, "poll", "1000")
	t.Logf("%.1f instructions with 2 connections, %.1f with 1,000", perMessage(few.total), perMessage(many.total))
	assert.LessOrEqual(t, float64(many.total), 1.1*float64(few.total))
}

func TestTheFastPathAllocatesNothingAndCallsNeitherSystemNorClock(t *testing.T) {
	t.Parallel()
	bin := build(t)
	for _, kind := range []string{"engine-one-way", "engine-ping-pong"} {
		out, err := exec.Command(bin, kind).CombinedOutput()
		assert.NoError(t, err, "%s", out)
	}
}

package ctest_test

import (
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath/ctest"
)

var arena = []string{
	"datapath/arena.c", "datapath/arena_chunk.c", "datapath/arena_mr.c", "datapath/arena_pool.c",
}

func arenaProgram(name string) ctest.Program {
	return ctest.Program{Sources: append([]string{"datapath/ctest/testdata/" + name}, arena...), Includes: []string{"rdma"}}
}

func TestArenaBlocks(t *testing.T) {
	t.Parallel()
	ctest.Run(t, arenaProgram("arena_block_test.c"), ctest.Address, ctest.Thread)
}

func TestArenaRegistration(t *testing.T) {
	t.Parallel()
	ctest.Run(t, arenaProgram("arena_mr_test.c"), ctest.Address, ctest.Thread)
}

func TestArenaUnderThreads(t *testing.T) {
	t.Parallel()
	ctest.Run(t, arenaProgram("arena_thread_test.c"), ctest.Address, ctest.Thread)
}

func TestTheFuzzTargetOfTheArenasFindsNothing(t *testing.T) {
	t.Parallel()
	p := arenaProgram("fuzz_arena.c")
	p.Flags = []string{"-DREPLAY=60"}
	ctest.Run(t, p, ctest.Address)
}

// BenchmarkArena is what the memory of a message costs; arena_bench.c says what each is.
func BenchmarkArena(b *testing.B) {
	bin := ctest.Build(b, arenaProgram("arena_bench.c"), "-O2")
	for _, kind := range []string{"cached", "pool", "push", "receive"} {
		b.Run(kind, func(b *testing.B) {
			out, err := exec.Command(bin, kind, strconv.Itoa(b.N)).CombinedOutput()
			require.NoError(b, err, "%s", out)
		})
	}
}

func TestTheAnalyzerFindsNothingInTheArenas(t *testing.T) {
	t.Parallel()
	for _, source := range arena {
		ctest.Analyze(t, source)
	}
}

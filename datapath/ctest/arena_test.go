package ctest_test

import (
	"testing"

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

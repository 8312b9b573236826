package ctest_test

import (
	"path/filepath"
	"testing"

	"catmint/datapath/ctest"
)

// engineProgram is a test of the whole engine on the simulated fabric, without Go.
func engineProgram(t *testing.T, name string) ctest.Program {
	t.Helper()
	sources := []string{"datapath/ctest/testdata/" + name}
	for _, f := range []string{
		"arena", "arena_chunk", "arena_mr", "arena_pool", "close", "conn", "demi", "device", "engine", "fast",
		"keepalive", "memory", "notice", "poll", "process", "qd", "recv", "rendezvous", "send", "token", "wait",
	} {
		sources = append(sources, "datapath/"+f+".c")
	}
	sim, err := filepath.Glob(filepath.Join(ctest.Root(t), "rdma/sim/sim_*.c"))
	if err != nil || len(sim) == 0 {
		t.Fatal("no simulated fabric", err)
	}
	for _, f := range sim {
		sources = append(sources, "rdma/sim/"+filepath.Base(f))
	}
	return ctest.Program{Sources: sources, Includes: []string{"rdma", "datapath/wire", "qtoken"}}
}

func TestEngineFlow(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_flow_test.c"), ctest.Address)
}

func TestEngineClose(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_close_test.c"), ctest.Address)
}

func TestEngineFaults(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_fault_test.c"), ctest.Address)
}

func TestEngineLargeMessages(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_large_test.c"), ctest.Address)
}

func TestEngineWaiting(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_wait_test.c"), ctest.Address, ctest.Thread)
}

func TestEngineKeepalive(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_keepalive_test.c"), ctest.Address)
}

func TestDemiCalls(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_demi_test.c"), ctest.Address)
}

func TestEngineRandomLives(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_random_test.c"), ctest.Address)
}

func TestEngineThreads(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_thread_test.c"), ctest.Address, ctest.Thread)
}

func TestTheShortcutsAgreeWithTheRules(t *testing.T) {
	t.Parallel()
	ctest.Run(t, ctest.Program{Sources: []string{"datapath/ctest/testdata/flow_fast_test.c"}, Includes: []string{"datapath/wire"}}, ctest.Address)
}

package ctest_test

import (
	"testing"

	"catmint/datapath/ctest"
)

// engineProgram is a test of the whole engine on the simulated fabric, without Go.
func engineProgram(name string, args ...string) ctest.Program {
	sources := []string{"datapath/ctest/testdata/" + name}
	for _, f := range []string{
		"arena", "arena_chunk", "arena_mr", "arena_pool", "close", "conn", "demi", "device", "engine",
		"memory", "notice", "poll", "process", "qd", "recv", "send", "token", "wait",
	} {
		sources = append(sources, "datapath/"+f+".c")
	}
	for _, f := range []string{"cq", "fabric", "mr", "post", "qp", "wire"} {
		sources = append(sources, "rdma/sim/sim_"+f+".c")
	}
	return ctest.Program{Sources: sources, Includes: []string{"rdma", "datapath/wire", "qtoken"}, Args: args}
}

func TestEngineFlow(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram("engine_flow_test.c"), ctest.Address)
}

package ctest_test

import (
	"testing"
	"time"

	"catmint/datapath/ctest"
)

// engineProgram is a test of the whole engine on the simulated fabric, without Go.
func engineProgram(t *testing.T, name string) ctest.Program {
	t.Helper()
	return ctest.EngineProgram(t, "datapath/ctest/testdata/"+name)
}

func TestEngineFlow(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_flow_test.c"), ctest.Address)
}

// What they look at on a provider that has no extended interface for sends.
func TestEngineWithoutSendOperations(t *testing.T) {
	t.Parallel()
	inAnotherWorld(t, "-DWORLD_NO_QP_EX=true", []string{"flow", "burst", "fault"}, "list", "close")
}

// inAnotherWorld runs engine programs, with more of them in the long form, in a world.h that flag
// makes other than it is.
func inAnotherWorld(t *testing.T, flag string, names []string, more ...string) {
	t.Helper()
	if !testing.Short() {
		names = append(names, more...)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := engineProgram(t, "engine_"+name+"_test.c")
			p.Flags = append(p.Flags, flag)
			ctest.Run(t, p, ctest.Address)
		})
	}
}

func TestEngineBursts(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_burst_test.c"), ctest.Address)
}

func TestEngineWindow(t *testing.T) {
	t.Parallel()
	p := engineProgram(t, "engine_window_test.c")
	p.Libs = append(p.Libs, "-Wl,--wrap=calloc", "-Wl,--wrap=aligned_alloc")
	ctest.Run(t, p, ctest.Address)
}

func TestEngineReceiveLists(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_list_test.c"), ctest.Address)
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

// On iWARP the block that a READ goes into is registered by itself, and while it does.
func TestEngineLargeMessagesOnIWARP(t *testing.T) {
	t.Parallel()
	inAnotherWorld(t, "-DWORLD_IWARP=true", []string{"read"}, "large", "random")
}

func TestEngineReads(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_read_test.c"), ctest.Address)
}

func TestEngineWaiting(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_wait_test.c"), ctest.Address, ctest.Thread)
}

func TestEngineKeepalive(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_keepalive_test.c"), ctest.Address)
}

func TestTheFuzzTargetOfTheEngineFindsNothing(t *testing.T) {
	t.Parallel()
	p := engineProgram(t, "fuzz_engine.c")
	p.Flags = []string{"-DREPLAY=150"}
	ctest.Run(t, p, ctest.Address)
}

func TestEngineCrowds(t *testing.T) {
	t.Parallel()
	ctest.Run(t, engineProgram(t, "engine_crowd_test.c"), ctest.Address, ctest.Thread)
}

func TestEngineSleep(t *testing.T) {
	t.Parallel()
	p := engineProgram(t, "engine_arm_test.c")
	ctest.Run(t, p, ctest.Address, ctest.Thread)
	if !testing.Short() { // four pairs of threads, each a million times to sleep and awake
		p.Args, p.Limit = []string{"rounds=250000"}, 20*time.Minute
		ctest.Run(t, p, ctest.Sanitizer{Name: "none", Flags: []string{"-O2"}})
	}
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

package memory

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/datapath/ctest"
)

// figures are bytes per connection, as memory.c prints them.
type figures struct {
	Heap       uint64 // what the engine has allocated
	Receives   uint64 // receives posted
	Registered uint64 // arena memory, registered with the device: receives, frames being sent, room
}

func measure(t *testing.T, bin string, kind string) figures {
	t.Helper()
	out, err := exec.Command(bin, kind).Output()
	require.NoError(t, err, "%s", out)
	var f figures
	require.NoError(t, json.Unmarshal(out, &f))
	t.Logf("%s: %+v", kind, f)
	return f
}

// What docs/benchmarks.md says.
func TestAThousandIdleConnectionsTakeNoMoreThanRecorded(t *testing.T) {
	t.Parallel()
	p := ctest.EngineProgram(t, "tests/bench/memory/testdata/memory.c")
	p.Includes = append(p.Includes, "tests/bench/instr/testdata")
	bin := ctest.Build(t, p, "-O2", "-fPIC")

	idle, grown := measure(t, bin, "idle"), measure(t, bin, "grown")
	const receive, ceiling = 8192, 64
	assert.EqualValues(t, 8*receive, idle.Receives, "64 KiB for an idle connection")
	assert.LessOrEqual(t, idle.Registered, uint64(72<<10))
	assert.LessOrEqual(t, idle.Heap, uint64(5<<10))

	assert.LessOrEqual(t, grown.Receives, uint64((ceiling-4)*receive), "besides that")
	assert.Greater(t, grown.Receives, uint64(ceiling/2*receive))
	assert.LessOrEqual(t, grown.Heap, uint64(10<<10))
}

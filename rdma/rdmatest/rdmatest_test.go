package rdmatest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma/internal/track"
	"catmint/rdma/rdmatest"
)

// leakVar tells a copy of this test binary what to leave behind.
const leakVar = "RDMATEST_LEAK"

func TestMain(m *testing.M) { rdmatest.Main(m) }

func leakObject() { track.Open("QP") }

func leakGoroutine(started chan<- struct{}) {
	close(started)
	select {}
}

// TestLeave leaves something behind if it is told to.
func TestLeave(t *testing.T) {
	switch os.Getenv(leakVar) {
	case "object":
		leakObject()
	case "goroutine":
		started := make(chan struct{})
		go leakGoroutine(started)
		<-started
	case "checked object":
		rdmatest.Check(t)
		leakObject()
	}
}

// run runs TestLeave in a process of its own.
func run(t *testing.T, leak string) (output string, err error) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run=^TestLeave$")
	cmd.Env = append(os.Environ(), leakVar+"="+leak, "RDMATEST_PATIENCE=300ms")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestObjectLeftOpenFailsTheRunWithItsStack(t *testing.T) {
	out, err := run(t, "object")
	require.Error(t, err)
	assert.Contains(t, out, "QP made by")
	assert.Contains(t, out, "rdmatest_test.leakObject")
}

func TestObjectLeftOpenFailsTheTestThatChecks(t *testing.T) {
	out, err := run(t, "checked object")
	require.Error(t, err)
	assert.Contains(t, out, "--- FAIL: TestLeave")
	assert.Contains(t, out, "1 more QP open than before")
	assert.Contains(t, out, "rdmatest_test.leakObject")
}

func TestGoroutineLeftRunningFailsTheRunWithItsStack(t *testing.T) {
	out, err := run(t, "goroutine")
	require.Error(t, err)
	assert.Contains(t, out, "goroutine left running")
	assert.Contains(t, out, "rdmatest_test.leakGoroutine")
}

func TestCleanRunSucceeds(t *testing.T) {
	out, err := run(t, "")
	require.NoError(t, err, out)
}

func TestFDsCountsOpenFiles(t *testing.T) {
	before := rdmatest.FDs(t)
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	assert.Equal(t, before+1, rdmatest.FDs(t))
	require.NoError(t, f.Close())
	assert.Equal(t, before, rdmatest.FDs(t))
}

package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The addresses of the simulated device, and one that nobody has; see
// cmd/libdemikernel/fabric_sim.go.
const (
	simAddr   = "10.0.0.1"
	simAddr6  = "2001:db8::1"
	simNobody = "10.0.0.77"
)

// The whole suite on a simulated device, in each way to wait; the tests with the tag rdma
// run it on a real driver.
func TestEveryCallAnswersAsItShouldOnASimulatedDevice(t *testing.T) {
	dir := folder(t)
	for _, mode := range []string{"adaptive", "spin", "block"} {
		t.Run(mode, func(t *testing.T) {
			t.Setenv("DEMI_WAIT", mode)
			runSuite(t, dir, "run", simAddr, simAddr6, simNobody)
		})
	}
}

func TestWithoutATokenNothingCanBeStarted(t *testing.T) {
	t.Setenv("DEMI_MAX_TOKENS", "8")
	runSuite(t, folder(t), "run", simAddr, "--", "exhausted")
}

func TestAProgramThatSleepsInWaitEndsOnSIGINT(t *testing.T) {
	dir := folder(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "echo"), "server", simAddr, "7174")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir, "DEMI_FABRIC=sim")
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 64)
	n, err := pipe.Read(line)
	require.NoError(t, err)
	require.Contains(t, string(line[:n]), "listening")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	err = cmd.Wait()
	require.ErrorContains(t, err, "signal: interrupt")
}

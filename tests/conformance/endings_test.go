package conformance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// endings are the deeds of programs/endings.c and the signal of which the program dies; with
// 0 it exits with status 7.
var endings = []struct {
	deed   string
	signal syscall.Signal
}{
	{"return", 0},
	{"exit", 0},
	{"thread-exit", 0},
	{"_exit", 0},
	{"sigterm", syscall.SIGTERM},
	{"sigint", syscall.SIGINT},
	{"handler", 0},
	{"handler-exit", 0},
	{"fork-exec", 0},
	{"fork-exit", 0},
	{"init-thread-exit", 0},
	{"cancel-sleepers", 0},
	{"cancel-workers", 0},
}

// output runs a program and returns all that it says, and how it ended.
func output(t *testing.T, env []string, path string, args ...string) (string, syscall.WaitStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return string(out), cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// programsEnd checks every ending, and that the library says nothing about any.
func programsEnd(t *testing.T, env []string, dir, addr string) {
	for _, e := range endings {
		t.Run(e.deed, func(t *testing.T) {
			out, status := output(t, env, filepath.Join(dir, "endings"), addr, e.deed)
			require.Empty(t, out)
			if e.signal != 0 {
				require.True(t, status.Signaled())
				require.Equal(t, e.signal, status.Signal())
				return
			}
			require.True(t, status.Exited(), "signal %v", status.Signal())
			require.Equal(t, 7, status.ExitStatus())
		})
	}
	t.Run("dlopen and dlclose", func(t *testing.T) {
		out, status := output(t, env, filepath.Join(dir, "loaded"), filepath.Join(dir, "libdemikernel.so.1"), addr)
		require.Empty(t, out)
		require.Equal(t, 7, status.ExitStatus())
	})
}

func TestProgramsEndAsTheyWouldWithoutTheLibrary(t *testing.T) {
	dir := folder(t)
	programsEnd(t, []string{"LD_LIBRARY_PATH=" + dir, "DEMI_FABRIC=sim"}, dir, simAddr)
}

// A panic in Go, in each call that enters it and in each kind of goroutine of the library.
func TestAPanicInsideTheLibraryIsAnErrnoAndOneLine(t *testing.T) {
	dir := folder(t)
	for _, place := range []string{
		"demi_init", "demi_socket", "demi_bind", "demi_listen", "demi_accept", "demi_connect", "demi_close",
		"demi_setsockopt", "demi_getsockopt", "demi_getsockname", "demi_getpeername", "exit",
		"event loop", "event loop, later", "worker", "notices", "housekeeper", "completion channels", "delivery", "close",
	} {
		t.Run(place, func(t *testing.T) {
			out, status := output(t, []string{"LD_LIBRARY_PATH=" + dir, "DEMI_FABRIC=sim"},
				filepath.Join(dir, "panics"), simAddr, place)
			require.True(t, status.Exited() && status.ExitStatus() == 0, "%v\n%s", status, out)
			require.ElementsMatch(t, []string{
				"survived",
				"catmint: " + place + ": internal error: ordered by a test; the library refuses further calls",
			}, strings.Split(strings.TrimSpace(out), "\n"))
		})
	}
}

// With DEMI_LOG=debug the stack follows, for a report of the mistake.
func TestAPanicsStackIsShownWhenAskedFor(t *testing.T) {
	dir := folder(t)
	out, status := output(t, []string{"LD_LIBRARY_PATH=" + dir, "DEMI_FABRIC=sim", "DEMI_LOG=debug"},
		filepath.Join(dir, "panics"), simAddr, "event loop")
	require.True(t, status.Exited() && status.ExitStatus() == 0, "%v\n%s", status, out)
	require.Contains(t, out, "libos.(*loop).run")
}

package conformance

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// runSuite runs the suite and returns its output; a failed case fails the test.
func runSuite(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "conformance"), args...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir, "DEMI_FABRIC=sim")
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		t.Errorf("conformance %s: %v\n%s", strings.Join(args, " "), err, out)
		return
	}
	require.Contains(t, lines[len(lines)-1], " passed, 0 failed")
	t.Logf("%s", out)
}

func TestEveryCallAnswersENOSYSBeforeInit(t *testing.T) {
	runSuite(t, folder(t), "before-init")
}

func TestEveryCallAnswersENOSYSInAForkedChild(t *testing.T) {
	runSuite(t, folder(t), "fork-uninitialised")
}

func TestABadEnvironmentVariableIsOneClearLineAndAnErrno(t *testing.T) {
	dir := folder(t)
	cmd := exec.Command(filepath.Join(dir, "conformance"), "run", "192.0.2.1")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir, "DEMI_WAIT=perhaps", "DEMI_WIAT=spin", "DEMI_FABRIC=sim")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	require.Equal(t, 1, exit.ExitCode())
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	require.Len(t, lines, 3, stderr.String())
	require.Contains(t, lines[0], `unknown variable "DEMI_WIAT" is ignored: did you mean DEMI_WAIT?`)
	require.Contains(t, lines[1], `DEMI_WAIT="perhaps"`)
	require.Contains(t, lines[2], "demi_init: Invalid argument", "the suite's own line")
}

// buildProgram builds one of the C programs as a user would, and returns it ready to start.
func buildProgram(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	dir := folder(t)
	bin := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("cc", "-Wall", "-Wextra", "-Werror", "-I"+filepath.Join(root, "include"),
		"programs/"+name+".c", "-L"+dir, "-ldemikernel", "-o", bin).CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir)
	return cmd
}

// signals runs the program and returns the signal that ended it (0: none) and its output.
func signals(t *testing.T, program *exec.Cmd, deed, name string) (syscall.Signal, string) {
	t.Helper()
	cmd := exec.Command(program.Path, deed, name)
	cmd.Env = program.Env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status := exit.Sys().(syscall.WaitStatus)
		require.True(t, status.Signaled(), "%s %s: %v: %s", deed, name, err, out)
		return status.Signal(), string(out)
	}
	require.NoError(t, err, "%s", out)
	return 0, string(out)
}

func TestSignalsEndAProgramAsWithoutTheLibrary(t *testing.T) {
	program := buildProgram(t, "signals")
	// What this process catches is not ignored in programs that it starts, even under nohup.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(caught)
	for name, want := range map[string]syscall.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT,
		"PIPE": syscall.SIGPIPE, "USR1": syscall.SIGUSR1, "ALRM": syscall.SIGALRM, "ABRT": syscall.SIGABRT,
	} {
		got, out := signals(t, program, "default", name)
		require.Equal(t, want, got, "%s: %s", name, out)
	}
	got, out := signals(t, program, "default", "CHLD")
	require.Zero(t, got, "ignored by default: %s", out)
	got, out = signals(t, program, "cause", "SEGV")
	require.Equal(t, syscall.SIGSEGV, got, out)
}

func TestAProgramsOwnHandlersAndIgnoredSignalsStay(t *testing.T) {
	program := buildProgram(t, "signals")
	for _, name := range []string{"INT", "TERM", "HUP", "PIPE", "USR1", "CHLD"} {
		got, out := signals(t, program, "handle", name)
		require.Zero(t, got, "%s: %s", name, out)
		require.Contains(t, out, "alive, caught ")
		require.NotContains(t, out, "caught 0")

		got, out = signals(t, program, "ignore", name)
		require.Zero(t, got, "%s: %s", name, out)
		require.Contains(t, out, "alive, caught 0")
	}
}

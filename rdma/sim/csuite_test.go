package sim_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const suiteLimit = 5 * time.Minute // ends a program that hangs

// The data half is C that needs no Go: its suites are C programs, built here with the
// sanitizers that find what Go's race detector cannot see.
func TestDataVerbsInC(t *testing.T) {
	t.Parallel()
	for _, suite := range []struct{ source, sanitizers string }{
		{"verbs_test.c", "address,undefined"},
		{"stress_test.c", "address,undefined"},
		{"threads_test.c", "thread"},
	} {
		t.Run(suite.source+" "+suite.sanitizers, func(t *testing.T) {
			t.Parallel()
			program := buildC(t, suite.source, suite.sanitizers)
			// Address randomisation off: the thread sanitizer of older compilers cannot
			// start under that of newer kernels.
			run := func(arg string) *exec.Cmd {
				ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
				t.Cleanup(cancel)
				return exec.CommandContext(ctx, "setarch", "-R", program, arg)
			}
			list, err := run("-list").Output()
			require.NoError(t, err)
			names := strings.Fields(string(list))
			require.NotEmpty(t, names)
			for _, name := range names {
				t.Run(name, func(t *testing.T) {
					out, err := run(name).CombinedOutput()
					require.NoError(t, err, "%s", out)
				})
			}
		})
	}
}

// buildC compiles a program of testdata with the sim's C files.
func buildC(t *testing.T, source, sanitizers string) string {
	t.Helper()
	files, err := filepath.Glob("sim_*.c")
	require.NoError(t, err)
	// x_test.c is a program; x_*.c, if there are any, are its parts.
	parts, err := filepath.Glob(filepath.Join("testdata", strings.TrimSuffix(source, "test.c")+"*.c"))
	require.NoError(t, err)
	files = append(append(files, "testdata/test.c"), parts...)
	headers, err := filepath.Glob("*.h")
	require.NoError(t, err)
	for _, f := range append(append([]string{"testdata/test.h", "testdata/verbs.h", "../slowops.h"}, headers...), files...) {
		// go test's cache remembers what a test reads, not what a compiler reads for it.
		_, err := os.ReadFile(f)
		require.NoError(t, err)
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	program := filepath.Join(t.TempDir(), "suite")
	args := []string{
		"-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra", "-Werror",
		"-fsanitize=" + sanitizers, "-fno-sanitize-recover=all", "-o", program,
	}
	args = append(append(args, files...), "-lpthread")
	out, err := exec.Command(cc, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

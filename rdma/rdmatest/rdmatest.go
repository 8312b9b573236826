// Package rdmatest helps tests of packages that use RDMA objects, of hardware or
// simulated, to leave nothing behind: objects and goroutines that outlive a test run fail
// it, each reported with the stack that made it.
//
// What must not live here: anything that non-test code needs.
package rdmatest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"catmint/rdma/internal/track"
)

// patience is how long goroutines that are about to end are waited for, unless the
// environment variable RDMATEST_PATIENCE gives another duration.
func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("RDMATEST_PATIENCE")); err == nil {
		return d
	}
	return 10 * time.Second
}

// Main is for a package's TestMain:
//
//	func TestMain(m *testing.M) { rdmatest.Main(m) }
//
// It runs the tests and exits; leaks turn success into failure.
func Main(m *testing.M) {
	track.Enable(true)
	code := m.Run()
	if code == 0 {
		if leaks := append(track.Leaks(), leakedGoroutines()...); len(leaks) != 0 {
			fmt.Fprintf(os.Stderr, "rdmatest: %d leaks\n%s\n", len(leaks), strings.Join(leaks, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// Check fails tb when it ends with more RDMA objects open than there are now. It is for
// tests that do not run in parallel with others that use RDMA objects.
func Check(tb testing.TB) {
	tb.Helper()
	track.Enable(true)
	before := make(map[string]bool)
	for _, leak := range track.Leaks() {
		before[leak] = true
	}
	counts := track.Counts()
	tb.Cleanup(func() {
		after := track.Counts()
		for kind, n := range after {
			if n > counts[kind] {
				tb.Errorf("%d more %s open than before", n-counts[kind], kind)
			}
		}
		for _, leak := range track.Leaks() {
			if !before[leak] {
				tb.Error(leak)
			}
		}
	})
}

// Counts returns how many RDMA objects of each kind this process has open: "event
// channel", "cm_id", "PD", "MR", "CQ", "QP", "completion channel". Kinds with none are
// left out.
func Counts() map[string]int { return track.Counts() }

// FDs returns how many file descriptors the process has open.
func FDs(tb testing.TB) int {
	tb.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		tb.Fatal(err)
	}
	return len(fds) - 1 // the directory itself
}

// Goroutines returns how many goroutines the process has: the fewest within a second, because
// goroutines and timers that have just ended may not be gone yet.
func Goroutines() int {
	n := runtime.NumGoroutine()
	for end := time.Now().Add(time.Second); time.Now().Before(end); runtime.Gosched() {
		n = min(n, runtime.NumGoroutine())
	}
	return n
}

// leakedGoroutines returns the stacks of goroutines that do not end.
func leakedGoroutines() []string {
	deadline := time.Now().Add(patience())
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		stacks := goroutines()
		if len(stacks) == 0 || time.Now().After(deadline) {
			return stacks
		}
		time.Sleep(pause)
	}
}

func goroutines() []string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var left []string
	// The first is the caller's own.
	for _, stack := range strings.Split(string(buf), "\n\n")[1:] {
		if !expected(stack) {
			left = append(left, "goroutine left running:\n"+stack)
		}
	}
	return left
}

// expected tells the goroutines of the runtime, of testing and of signal handling.
func expected(stack string) bool {
	for _, mark := range []string{
		"created by runtime.",
		"created by testing.",
		"testing.Main(",
		"testing.(*M).",
		"os/signal.signal_recv",
		"os/signal.loop",
		"runtime.ensureSigM",
	} {
		if strings.Contains(stack, mark) {
			return true
		}
	}
	return false
}

package gotest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
)

// Result is how a package's tests ended.
type Result struct {
	ImportPath string
	Status     int           // exit status of the binary
	Err        error         // why it has none: it did not compile, or its host died
	Took       time.Duration // on the clock outside
	Output     []byte        // unless it was shown while it came
}

// Failed tells whether the package failed.
func (r Result) Failed() bool { return r.Err != nil || r.Status != 0 }

// Report prints results in the manner of go test.
type Report struct {
	w      io.Writer
	ok     int
	failed int
}

// NewReport returns a Report that prints to w.
func NewReport(w io.Writer) *Report { return &Report{w: w} }

// Add prints the result of a package.
func (r *Report) Add(result Result) {
	name := result.ImportPath
	if !result.Failed() {
		r.ok++
		if noTestsRun(result.Output) {
			fmt.Fprintf(r.w, "ok  \t%s\t%.3fs [no tests to run]\n", name, result.Took.Seconds())
			return
		}
		fmt.Fprintf(r.w, "ok  \t%s\t%.3fs\n", name, result.Took.Seconds())
		return
	}
	r.failed++
	if len(result.Output) > 0 {
		_, _ = r.w.Write(result.Output)
		if !bytes.HasSuffix(result.Output, []byte("\n")) {
			fmt.Fprintln(r.w)
		}
	}
	var note string
	if result.Err != nil {
		fmt.Fprintln(r.w, strings.TrimRight(result.Err.Error(), "\n"))
		if _, ok := result.Err.(*CompileError); ok { //nolint:errorlint // made by this package, never wrapped
			fmt.Fprintf(r.w, "FAIL\t%s [build failed]\n", name)
			return
		}
	} else if result.Status == killed {
		note = " (killed; was there memory enough? --mem gives guests more)"
	} else if result.Status > 1 {
		note = fmt.Sprintf(" (exit status %d)", result.Status)
	}
	fmt.Fprintf(r.w, "FAIL\t%s\t%.3fs%s\n", name, result.Took.Seconds(), note)
}

// Finish prints the last line and tells whether everything passed.
func (r *Report) Finish() bool {
	if r.failed > 0 {
		fmt.Fprintln(r.w, "FAIL")
	}
	return r.failed == 0 && r.ok > 0
}

// killed is the exit status of a binary that SIGKILL ended, as the kernel does that has run
// out of memory.
const killed = 128 + int(syscall.SIGKILL)

func noTestsRun(output []byte) bool {
	return bytes.Contains(output, []byte("testing: warning: no tests to run"))
}

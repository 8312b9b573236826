package guard

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"

	"catmint/internal/background"
)

// Guard turns errors into errnos and panics into EIO. After a panic what is behind it may be
// in any state, so it refuses all further calls, and has what is under way ended. Its
// methods may be called from any goroutine; the zero value reports nowhere.
type Guard struct {
	// Report receives one line for a panic and one for an error that carries no errno. It
	// may be called from several goroutines at once.
	Report io.Writer
	// Stack, if true, adds the panic's stack to the line, for debugging.
	Stack atomic.Bool
	// Broke, if not nil, is called once, after the first panic.
	Broke func()

	broken atomic.Bool
}

// Panicked is told of a panic that was recovered elsewhere, in what name says. The first one is
// reported and ends the service.
func (g *Guard) Panicked(name string, value any, stack []byte) {
	if !g.broken.CompareAndSwap(false, true) {
		return // what follows a panic is not worth a line
	}
	text := strings.ReplaceAll(fmt.Sprint(value), "\n", "; ")
	g.report("%s: internal error: %s; the library refuses further calls", name, text)
	if g.Stack.Load() {
		g.report("%s", stack)
	}
	if g.Broke != nil {
		g.Broke()
	}
}

// Call runs f on behalf of the C call name and returns 0 or a positive errno: that of f's
// error, or EIO when the error carries none, when f panics, and ever after a panic.
func (g *Guard) Call(name string, f func() error) (errno int) {
	if g.broken.Load() {
		return int(syscall.EIO)
	}
	defer func() {
		if r := recover(); r != nil {
			errno = int(syscall.EIO)
			g.Panicked(name, r, debug.Stack())
		}
	}()
	background.Checkpoint(name)
	err := f()
	if err == nil {
		return 0
	}
	var e syscall.Errno
	if errors.As(err, &e) && e > 0 {
		return int(e)
	}
	g.report("%s: %v", name, err)
	return int(syscall.EIO)
}

// Broken tells whether a call has panicked.
func (g *Guard) Broken() bool { return g.broken.Load() }

func (g *Guard) report(format string, args ...any) {
	if g.Report == nil {
		return
	}
	// Nobody is left to tell of an error here.
	_, _ = fmt.Fprintf(g.Report, "catmint: "+format+"\n", args...)
}

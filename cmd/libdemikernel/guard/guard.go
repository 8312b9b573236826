package guard

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"syscall"
)

// Guard turns errors into errnos and panics into EIO. After a panic what is behind it may be
// in any state, so it refuses all further calls. Its methods may be called from any
// goroutine; the zero value reports nowhere.
type Guard struct {
	// Report receives one line for a panic and one for an error that carries no errno. It
	// may be called from several goroutines at once.
	Report io.Writer
	// Stack adds the panic's stack to the line, for debugging.
	Stack bool

	broken atomic.Bool
}

// Call runs f on behalf of the C call name and returns 0 or a positive errno: that of f's
// error, or EIO when the error carries none, when f panics, and ever after a panic.
func (g *Guard) Call(name string, f func() error) (errno int) {
	if g.broken.Load() {
		return int(syscall.EIO)
	}
	defer func() {
		if r := recover(); r != nil {
			g.broken.Store(true)
			errno = int(syscall.EIO)
			g.report("%s: internal error: %v; the library refuses further calls", name, r)
			if g.Stack {
				g.report("%s", debug.Stack())
			}
		}
	}()
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

package background

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Handler is told of a panic: the name of what ran, the value and the stack. It runs on the
// goroutine that panicked, which then ends, after its deferred functions.
type Handler func(name string, value any, stack []byte)

var handler atomic.Pointer[Handler]

// OnPanic has h take every panic from now on, in place of who did before; nil gives them back
// to the runtime, which ends the program.
func OnPanic(h Handler) {
	if h == nil {
		handler.Store(nil)
		return
	}
	handler.Store(&h)
}

// Go runs f on a goroutine of its own; name says what it is to who reads of a panic. The channel
// is closed once f has returned, or its panic has been told of.
func Go(name string, f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(name, f)
	}()
	return done
}

// Join is Go for a goroutine that wg counts.
func Join(wg *sync.WaitGroup, name string, f func()) {
	wg.Go(func() { run(name, f) })
}

// After is time.AfterFunc for a function that may panic.
func After(d time.Duration, name string, f func()) *time.Timer {
	return time.AfterFunc(d, func() { run(name, f) })
}

// WhenDone is context.AfterFunc for a function that may panic.
func WhenDone(ctx context.Context, name string, f func()) (stop func() bool) {
	return context.AfterFunc(ctx, func() { run(name, f) })
}

func run(name string, f func()) {
	h := handler.Load()
	if h == nil {
		f() // with the runtime's own report
		return
	}
	defer func() {
		if v := recover(); v != nil {
			(*h)(name, v, debug.Stack())
		}
	}()
	f()
}

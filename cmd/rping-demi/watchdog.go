package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// watchdog is a context that ends when nothing has come back for a while. A context with a
// time limit of its own for each ping would cost more than many a ping takes.
type watchdog struct {
	context.Context //nolint:containedctx // it is one
	limit           time.Duration
	timer           *time.Timer
}

// errLate is why a watchdog ends.
var errLate = errors.New("nothing came back in time")

// newWatchdog begins to watch; the context ends with parent, too, and when stop is called.
func newWatchdog(parent context.Context, limit time.Duration) (w *watchdog, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	w = &watchdog{ctx, limit, time.AfterFunc(limit, func() { cancel(errLate) })}
	return w, func() {
		w.timer.Stop()
		cancel(nil)
	}
}

// pat begins the limit anew.
func (w *watchdog) pat() { w.timer.Reset(w.limit) }

// explain makes an err that is this watchdog's end a context.DeadlineExceeded.
func (w *watchdog) explain(err error) error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(w), errLate) {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}

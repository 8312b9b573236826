package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"catmint/soft-roce/internal/wire"
	"catmint/soft-roce/testbed"
)

// interruptGrace is how long a command that was interrupted gets to end by itself.
const interruptGrace = 3 * time.Second

var errTimeout = errors.New("time limit reached")

// interruptedError says which signal ended soft-roce.
type interruptedError struct{ sig syscall.Signal }

func (e interruptedError) Error() string { return fmt.Sprintf("ended by signal: %v", e.sig) }

// limit starts the clock of the time limit and the watch over signals: the context is cancelled,
// with the reason as its cause, when either comes. The returned function stops both.
func limit(cancel context.CancelCauseFunc, timeout time.Duration, signals <-chan os.Signal) func() {
	stop := make(chan struct{})
	var clock <-chan time.Time
	if timeout > 0 {
		clock = time.After(timeout)
	}
	go func() {
		select {
		case <-clock:
			cancel(fmt.Errorf("%w: %v", errTimeout, timeout))
		case s := <-signals:
			sig, _ := s.(syscall.Signal)
			cancel(interruptedError{sig})
		case <-stop:
		}
	}()
	return func() { close(stop) }
}

// statusOf returns the exit status for a run that was cut short by err.
func statusOf(err error) int {
	var interrupted interruptedError
	switch {
	case errors.Is(err, errTimeout):
		return statusTimeout
	case errors.As(err, &interrupted):
		return wire.StatusSignalBase + int(interrupted.sig)
	default:
		return statusFailure
	}
}

// await waits for a command's end, in whatever way it comes: by itself, by an interruption or at
// the time limit, and turns it into soft-roce's exit status.
func await(ctx context.Context, h *hosts, p process, w io.Writer) (int, error) {
	select {
	case <-p.Done():
	case <-ctx.Done():
		cause := context.Cause(ctx)
		if errors.Is(cause, errTimeout) {
			h.showConsoles(w)
			_ = p.Signal(syscall.SIGKILL)
			return statusTimeout, cause
		}
		var interrupted interruptedError
		if errors.As(cause, &interrupted) {
			_ = p.Signal(interrupted.sig)
		}
		select {
		case <-p.Done():
		case <-time.After(interruptGrace):
			_ = p.Signal(syscall.SIGKILL)
		}
		return statusOf(cause), nil
	}
	return finish(h, p, w)
}

// finish returns the exit status of a command that is over.
func finish(h *hosts, p process, w io.Writer) (int, error) {
	status, err := p.Wait()
	if err != nil {
		if errors.Is(err, testbed.ErrHostDown) {
			h.showConsoles(w)
		}
		return statusFailure, err
	}
	if reason := p.Reason(); reason != "" {
		fmt.Fprintln(w, "soft-roce:", reason)
	}
	return status, nil
}

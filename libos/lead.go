package libos

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"catmint/datapath"
	"catmint/internal/background"
)

// watch is who waits for the events of a loop's channel: the loop's own goroutine, or a leader, a
// goroutine that waits for a connection to be set up.
type watch struct {
	led    bool
	asleep atomic.Bool // the leader sleeps, or is about to; read without the lock
}

// lead has the caller watch the channel in the place of the loop's own goroutine, until unlead.
// false: somebody does already.
func (l *loop) lead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.watch.led || !l.ch.TakeWatch() {
		return false
	}
	l.watch.led = true
	return true
}

// unlead gives the watch back. Nobody is woken for that: the loop's goroutine, parked all the
// while, sees again.
func (l *loop) unlead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch.led = false
	l.ch.LeaveWatch()
}

// interrupt has the leader, if there is one, look whether it has reason to go on waiting.
func (l *loop) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watch.led {
		l.ch.Interrupt()
	}
}

// await is the channel's Await. The runtime takes a goroutine that returns from a long system call
// for one that has been running all the time, and preempts it by a signal soon after; one that
// goes through the scheduler is taken for fresh.
func (l *loop) await() (events bool) {
	slept := uptime()
	events = l.ch.Await()
	if uptime()-slept > longSleep {
		runtime.Gosched()
	}
	return events
}

// longSleep is when the runtime takes away the processor of a goroutine in a system call.
const longSleep = 10 * time.Millisecond

// waitLeading waits for one of tokens that are watched and were not complete then, as the leader;
// woken is theirs. The errors are those of WaitAny.
func (e *Engine) waitLeading(ctx context.Context, qts []datapath.Token, r *datapath.Result, woken chan struct{}) (int, error) {
	l := e.loop
	e.waiters.lead(woken)
	defer func() {
		e.waiters.lead(nil)
		l.unlead()
	}()
	if ctx.Done() != nil {
		defer background.WhenDone(ctx, "end of a wait", l.interrupt)()
	}
	for look, worked := false, false; ; {
		// Whoever has something to say to us says it first and then sees whether we sleep.
		l.watch.asleep.Store(true)
		select {
		case <-woken:
			look = true
		default:
		}
		if look {
			if i, err := redeemFirst(qts, r); !errors.Is(err, syscall.ETIMEDOUT) {
				l.watch.asleep.Store(false)
				return i, err
			}
			look = false
		}
		if err := e.over(ctx); err != nil {
			l.watch.asleep.Store(false)
			if i, rerr := redeemFirst(qts, r); rerr == nil { // it came just now
				return i, nil
			}
			return 0, err
		}
		// A job takes so long that the next event is there, as a rule.
		events := worked || l.await()
		l.watch.asleep.Store(false)
		worked = events && l.enter() && l.takeOne(true, false)
	}
}

// over says why nobody should wait any longer, if so.
func (e *Engine) over(ctx context.Context) error {
	select { // one at a time is a mere look
	case <-e.quit:
		return syscall.ENOSYS
	default:
	}
	select {
	case <-e.p.dead:
		return syscall.EIO
	default:
	}
	return ctx.Err()
}

package libos

import (
	"context"
	"errors"
	"sync"
	"syscall"

	"catmint/datapath"
)

// waiters are the goroutines that wait for tokens.
type waiters struct {
	mu     sync.Mutex
	m      map[datapath.Token][]chan<- struct{}
	inside int             // how many are in WaitAny
	leader chan<- struct{} // of the one who watches the event channel, nil for none
	closed bool            // none may come any more
	gone   chan struct{}   // closed when it is, and the last has left
}

// enter counts a waiter in; false when the engine ends.
func (w *waiters) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.inside++
	return true
}

func (w *waiters) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inside--; w.closed && w.inside == 0 {
		close(w.gone)
	}
}

// shut lets nobody in any more and waits until all have left: a token that is watched cannot be
// dropped. The engine's quit has been closed, so they are leaving.
func (w *waiters) shut() {
	w.mu.Lock()
	w.closed, w.gone = true, make(chan struct{})
	if w.inside == 0 {
		close(w.gone)
	}
	w.mu.Unlock()
	<-w.gone
}

func (w *waiters) add(qt datapath.Token, ch chan<- struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m[qt] = append(w.m[qt], ch)
}

// remove takes one waiter out; last is true when nobody waits for the token any more.
func (w *waiters) remove(qt datapath.Token, ch chan<- struct{}) (last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	chs := w.m[qt]
	for i, c := range chs {
		if c == ch {
			chs = append(chs[:i:i], chs[i+1:]...)
			break
		}
	}
	if len(chs) == 0 {
		delete(w.m, qt)
		return true
	}
	w.m[qt] = chs
	return false
}

// lead makes ch that of the leader; nil: there is none.
func (w *waiters) lead(ch chan<- struct{}) {
	w.mu.Lock()
	w.leader = ch
	w.mu.Unlock()
}

// any says whether somebody waits.
func (w *waiters) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.m) != 0
}

// wake wakes everybody who waits for qt. The channels have room for one value. leader: the leader
// is one of them, which a channel does not wake.
func (w *waiters) wake(qt datapath.Token) (leader bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.m[qt] {
		select {
		case ch <- struct{}{}:
		default:
		}
		leader = leader || ch == w.leader
	}
	return leader
}

// wake wakes who waits for qt. A leader that is awake will look by itself.
func (e *Engine) wake(qt datapath.Token) {
	if e.waiters.wake(qt) && e.loop.watch.asleep.Load() {
		e.loop.interrupt()
	}
}

// Wait waits until the operation of qt is over and redeems the token. The error is that
// of the operation (Result.Err, a syscall.Errno), EINVAL for what is not a pending token
// of this process, EIO after Process.Abort, or ctx.Err; only in the last case can the token be
// waited for again.
func (e *Engine) Wait(ctx context.Context, qt datapath.Token) (datapath.Result, error) {
	_, r, err := e.WaitAny(ctx, []datapath.Token{qt})
	return r, err
}

// WaitAny waits until the operation of one of the tokens, all of this engine, is over and
// redeems that token: the lowest index among those that are. Errors are as for Wait;
// EINVAL if one of them is not a token, or for none.
func (e *Engine) WaitAny(ctx context.Context, qts []datapath.Token) (int, datapath.Result, error) {
	var r datapath.Result
	if len(qts) == 0 {
		return 0, r, syscall.EINVAL
	}
	// This polls, and judges the list as a whole.
	if i, err := datapath.WaitAny(qts, &r, 0); !errors.Is(err, syscall.ETIMEDOUT) {
		return i, r, resultErr(&r, err)
	}
	if !e.waiters.enter() {
		return 0, r, syscall.ENOSYS
	}
	defer e.waiters.leave()
	ch := make(chan struct{}, 1)
	watched, done, setUp := 0, false, true
	redeemed := -1
	defer func() {
		for i, qt := range qts[:watched] {
			if e.waiters.remove(qt, ch) && i != redeemed {
				_ = datapath.UnwatchToken(qt) // EINVAL: it was redeemed
			}
		}
	}()
	for _, qt := range qts {
		e.waiters.add(qt, ch)
		watched++
		var err error
		var setsUp bool
		if done, setsUp, err = datapath.WatchToken(qt); err != nil {
			return 0, r, err
		}
		setUp = setUp && setsUp
		if done {
			break
		}
	}
	// The loop completes connects and accepts by itself. Whoever waits for anything else needs
	// somebody who looks at the completion queues.
	if !setUp {
		e.house.kick()
	} else if !done && e.loop.lead() {
		i, err := e.waitLeading(ctx, qts, &r, ch)
		if err == nil {
			redeemed = i
		}
		return i, r, resultErr(&r, err)
	}
	for {
		if i, err := redeemFirst(qts, &r); !errors.Is(err, syscall.ETIMEDOUT) {
			return i, r, resultErr(&r, err)
		}
		select {
		case <-ch:
		case <-ctx.Done():
			if i, err := redeemFirst(qts, &r); err == nil {
				return i, r, resultErr(&r, nil)
			}
			return 0, r, ctx.Err()
		case <-e.quit:
			if i, err := redeemFirst(qts, &r); err == nil {
				return i, r, resultErr(&r, nil)
			}
			return 0, r, syscall.ENOSYS
		case <-e.p.dead:
			if i, err := redeemFirst(qts, &r); err == nil {
				return i, r, resultErr(&r, nil)
			}
			return 0, r, syscall.EIO
		}
	}
}

// redeemFirst redeems the first token of the list that has completed. ETIMEDOUT: none
// has; EINVAL: one is not a token.
func redeemFirst(qts []datapath.Token, r *datapath.Result) (int, error) {
	for i, qt := range qts {
		err := datapath.RedeemToken(qt, r)
		if !errors.Is(err, syscall.ETIMEDOUT) {
			return i, err
		}
	}
	return 0, syscall.ETIMEDOUT
}

func resultErr(r *datapath.Result, err error) error {
	if err != nil {
		return err
	}
	return r.Err()
}

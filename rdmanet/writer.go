package rdmanet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"catmint/datapath"
	"catmint/libos"
)

const (
	// sendBuffer bounds what has been written and not pushed to its end, in bytes.
	sendBuffer = 1 << 20
	// overhead is what a push counts besides its bytes, so that the tokens of small ones
	// are bounded, too.
	overhead = 512
	// firstPiece is the longest message made of what is written; shorter if the peer does
	// not take that.
	firstPiece = 256 << 10
	// leastPiece is taken by any peer.
	leastPiece = 48
)

// writer is the stream to the peer: pushes in order, of which a bounded amount is under way.
type writer struct {
	s        *libos.Socket
	deadline *deadline

	mu     sync.Mutex
	pushes []pushed // under way, oldest first
	queued int      // sum of their costs
	piece  int
	err    error // what every write answers from now on
}

type pushed struct {
	qt   datapath.Token
	cost int
}

// ready says why nothing can be written, or nil. Locked.
func (w *writer) ready() error {
	if err := w.deadline.err(); err != nil {
		return err
	}
	return w.refused()
}

// oldest waits for the oldest push. Locked.
func (w *writer) oldest() error {
	wait := w.deadline.wait()
	_, err := w.s.Engine().Wait(wait, w.pushes[0].qt)
	if ended := wait.Err(); ended != nil && errors.Is(err, ended) {
		return err
	}
	w.forget(err)
	if err := w.deadline.err(); errors.Is(err, net.ErrClosed) {
		return err // rather than ECANCELED
	}
	return w.err
}

// reap redeems pushes that are done. Locked.
func (w *writer) reap() {
	var r datapath.Result
	for len(w.pushes) > 0 {
		err := datapath.RedeemToken(w.pushes[0].qt, &r)
		if errors.Is(err, syscall.ETIMEDOUT) {
			return
		}
		if err == nil {
			err = r.Err()
		}
		w.forget(err)
	}
}

// forget takes the oldest push out, which ended with err. Locked.
func (w *writer) forget(err error) {
	w.queued -= w.pushes[0].cost
	if w.pushes = w.pushes[1:]; len(w.pushes) == 0 {
		w.pushes = nil
	}
	if err != nil && w.err == nil {
		w.err = err
	}
}

// room waits until n bytes may be pushed. Locked.
func (w *writer) room(n int) error {
	for len(w.pushes) > 0 && w.queued+n+overhead > sendBuffer {
		if err := w.oldest(); err != nil {
			return err
		}
	}
	return nil
}

// alloc allocates a message, waiting for the memory of others if there is none. Locked.
func (w *writer) alloc(n int) (datapath.SGArray, error) {
	for {
		sga, err := datapath.SGAAlloc(w.s.Engine().Datapath(), n)
		if !errors.Is(err, syscall.ENOMEM) || len(w.pushes) == 0 {
			return sga, err
		}
		if err := w.oldest(); err != nil {
			return sga, err
		}
	}
}

// push pushes a message. EMSGSIZE: the peer does not take one so long. Locked.
func (w *writer) push(sga *datapath.SGArray) error {
	qt, err := w.s.PushSGA(sga)
	if err != nil {
		return err
	}
	cost := sga.Len() + overhead
	w.pushes = append(w.pushes, pushed{qt, cost})
	w.queued += cost
	return nil
}

// shorter makes pieces shorter after EMSGSIZE; false if they cannot be. Locked.
func (w *writer) shorter(err error) bool {
	if !errors.Is(err, syscall.EMSGSIZE) || w.piece <= leastPiece {
		return false
	}
	w.piece = max(w.piece/2, leastPiece)
	return true
}

func (w *writer) write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return 0, err
	}
	n, err := w.copy(b)
	if err == nil {
		err = w.refused()
	}
	return n, err
}

// refused is what has gone wrong with pushes so far, such as the last. Locked.
func (w *writer) refused() error {
	w.reap()
	return w.err
}

// copy pushes copies of the pieces of b. Locked.
func (w *writer) copy(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := min(len(b)-done, w.piece)
		if err := w.room(n); err != nil {
			return done, err
		}
		sga, err := w.alloc(n)
		if err != nil {
			return done, err
		}
		copy(sga.Bytes(), b[done:])
		err = w.push(&sga)
		free(&sga)
		switch {
		case err == nil:
			done += n
		case w.shorter(err):
		default:
			return done, w.closedOr(err)
		}
	}
	return done, nil
}

// closedOr is net.ErrClosed if Close is why a call failed.
func (w *writer) closedOr(err error) error {
	if ended := w.deadline.err(); errors.Is(ended, net.ErrClosed) {
		return ended
	}
	return err
}

// readFrom does not hold the lock while it reads from r, which may take any time.
func (w *writer) readFrom(r io.Reader) (int64, error) {
	var sum int64
	for {
		sga, err := w.buffer()
		if err != nil {
			return sum, err
		}
		n, rerr := r.Read(sga.Bytes())
		n, err = w.pushFirst(&sga, n)
		free(&sga)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
		switch {
		case errors.Is(rerr, io.EOF):
			return sum, nil
		case rerr != nil:
			return sum, rerr
		}
	}
}

// buffer is an empty message to read into.
func (w *writer) buffer() (datapath.SGArray, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.ready(); err != nil {
		return datapath.SGArray{}, err
	}
	return w.alloc(min(w.piece, readPiece))
}

// readPiece is how much readFrom asks its reader for at once, in bytes.
const readPiece = 64 << 10

// pushFirst pushes the first n bytes of a message in place, or copies of pieces of it if the peer
// does not take so many, and says how many were taken.
func (w *writer) pushFirst(sga *datapath.SGArray, n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := sga.Slice(0, n); err != nil {
		return 0, err
	}
	if err := w.room(n); err != nil {
		return 0, err
	}
	err := w.push(sga)
	switch {
	case err == nil:
		return n, w.refused()
	case w.shorter(err):
		return w.copy(sga.Bytes())
	}
	return 0, w.closedOr(err)
}

// end sends the end of the stream. Later writes answer EPIPE.
func (w *writer) end() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.deadline.err(); errors.Is(err, net.ErrClosed) {
		return err
	}
	if err := w.s.CloseWrite(); err != nil {
		return w.closedOr(err)
	}
	if w.err == nil {
		w.err = syscall.EPIPE
	}
	return nil
}

// drop redeems all pushes, once the socket is closed: they have ended. ECANCELED: some were cut.
func (w *writer) drop() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var cut error
	for len(w.pushes) > 0 {
		_, err := w.s.Engine().Wait(context.Background(), w.pushes[0].qt)
		if errors.Is(err, syscall.ECANCELED) {
			cut = err
		}
		w.forget(err)
	}
	return cut
}

package rdmanet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"catmint/datapath"
	"catmint/libos"
)

// reader is the stream from the peer: one pop at a time, and the message that it brought.
type reader struct {
	s        *libos.Socket
	deadline *deadline

	mu  sync.Mutex
	pop datapath.Token   // under way, 0 for none
	sga datapath.SGArray // what is being read, null for nothing
	at  int              // so much of it has been
	err error            // what every read answers from now on
}

// fill waits until there is something to read. Locked.
func (r *reader) fill() error {
	wait := r.deadline.wait()
	if err := wait.Err(); err != nil {
		return err
	}
	if !r.sga.IsNull() {
		return nil
	}
	if r.err != nil {
		return r.err
	}
	if r.pop == 0 {
		qt, err := r.s.Pop()
		if err != nil {
			return r.closedOr(err)
		}
		r.pop = qt
	}
	res, err := r.s.Engine().Wait(wait, r.pop)
	if ended := wait.Err(); ended != nil && errors.Is(err, ended) {
		return err // and the pop goes on
	}
	r.pop = 0
	if err != nil {
		r.err = r.closedOr(err)
		return r.err
	}
	r.sga, r.at = res.SGA(), 0
	if r.sga.Len() == 0 {
		free(&r.sga)
		r.err = io.EOF
	}
	return r.err
}

// closedOr is net.ErrClosed if Close is why a call failed.
func (r *reader) closedOr(err error) error {
	if ended := r.deadline.err(); errors.Is(ended, net.ErrClosed) {
		return ended
	}
	return err
}

// taken says that n more bytes have been read. Locked.
func (r *reader) taken(n int) {
	if r.at += n; r.at == r.sga.Len() {
		free(&r.sga)
	}
}

func (r *reader) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(b, r.sga.Bytes()[r.at:])
	r.taken(n)
	return n, nil
}

// writeTo holds the lock while it writes: what is read meanwhile would be out of order.
func (r *reader) writeTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum int64
	for {
		switch err := r.fill(); {
		case errors.Is(err, io.EOF):
			return sum, nil
		case err != nil:
			return sum, err
		}
		n, err := w.Write(r.sga.Bytes()[r.at:])
		r.taken(n)
		sum += int64(n)
		if err != nil {
			return sum, err
		}
	}
}

// drop lets go of what nobody will read, once the socket is closed: its pop has ended.
func (r *reader) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pop != 0 {
		if res, err := r.s.Engine().Wait(context.Background(), r.pop); err == nil {
			sga := res.SGA()
			free(&sga)
		}
		r.pop = 0
	}
	if !r.sga.IsNull() {
		free(&r.sga)
	}
}

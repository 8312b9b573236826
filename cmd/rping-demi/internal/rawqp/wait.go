package rawqp

// #include "verbs.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"catmint/rdma"
)

// Completion is a work completion.
type Completion struct {
	WR     uint64
	Status rdma.WCStatus
	Len    int // bytes received
}

// ErrClosed says that the connection was closed on this side.
var ErrClosed = errors.New("connection closed")

// spinSlice bounds one spin, during which nobody else can use the queue.
const spinSlice = 50 * time.Microsecond

// long ago: a deadline that ends a wait at once.
var past = time.Unix(1, 0)

// Next waits for the next completion: first polling, then asleep in the netpoller. When
// the connection has ended and every completion is taken, it fails with the error of End,
// or ErrClosed; with ctx.Err when ctx ends.
func (q *Queue) Next(ctx context.Context) (Completion, error) {
	for spun := time.Duration(0); spun < q.cfg.Spin; spun += spinSlice {
		c, err := q.take(min(spinSlice, q.cfg.Spin-spun))
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		if ctx.Err() != nil {
			return Completion{}, ctx.Err()
		}
	}
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.wake()
	})
	defer stop()
	for {
		if err := q.arm(); err != nil {
			return Completion{}, err
		}
		c, err := q.take(0)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		// Whoever sets the deadline to wake us does so after ending what is looked at here.
		if ctx.Err() != nil {
			return Completion{}, ctx.Err()
		}
		if err := q.sleep(); err != nil {
			return Completion{}, err
		}
	}
}

// take takes a completion; EAGAIN when there is none yet.
func (q *Queue) take(spin time.Duration) (Completion, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.kept) > 0 {
		c := q.kept[0]
		q.kept = q.kept[1:]
		return c, nil
	}
	if q.over || q.cq == nil {
		return Completion{}, q.ended()
	}
	return q.poll(spin)
}

func (q *Queue) poll(spin time.Duration) (Completion, error) {
	errno := C.rawqp_poll((*C.struct_ibv_cq)(q.cq.Handle()), C.int64_t(spin), q.wc)
	if errno != 0 {
		return Completion{}, syscall.Errno(errno)
	}
	return Completion{uint64(q.wc.wr_id), rdma.WCStatus(q.wc.status), int(q.wc.byte_len)}, nil
}

func (q *Queue) ended() error {
	if q.err != nil {
		return q.err
	}
	return ErrClosed
}

// arm asks for an event, and takes back a wake-up that has been seen.
func (q *Queue) arm() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over || q.cq == nil {
		return nil // take says what there is to say
	}
	if err := q.events.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if errno := C.rawqp_arm((*C.struct_ibv_cq)(q.cq.Handle())); errno != 0 {
		return fmt.Errorf("arm the completion queue: %w", syscall.Errno(errno))
	}
	return nil
}

// wake ends a sleep, the current one or the next. Locked.
func (q *Queue) wake() {
	if q.events != nil {
		_ = q.events.SetReadDeadline(past)
	}
}

// sleep waits for a completion event or a wake-up.
func (q *Queue) sleep() error {
	channel := (*C.struct_ibv_comp_channel)(q.channel.Handle())
	var errno C.int
	err := q.conn.Read(func(uintptr) bool {
		errno = C.rawqp_take_event(q.ops, channel)
		return errno != C.EAGAIN
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err != nil:
		return fmt.Errorf("wait for a completion: %w", err)
	case errno != 0:
		return fmt.Errorf("take a completion event: %w", syscall.Errno(errno))
	}
	return nil
}

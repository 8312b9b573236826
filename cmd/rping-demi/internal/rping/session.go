package rping

import (
	"context"
	"errors"
	"fmt"
	"time"

	"catmint/cmd/rping-demi/internal/rawqp"
	"catmint/libos"
	"catmint/rdma"
)

// Sizes of a ping in bytes that stock rping takes.
const (
	MinSize = 23
	MaxSize = 65535
)

// Errors of an exchange.
var (
	// ErrProtocol is a peer that does not speak rping's protocol.
	ErrProtocol = errors.New("the peer does not speak rping's protocol")
	// ErrDisconnected is a peer that went away in the middle of a ping.
	ErrDisconnected = errors.New("the peer disconnected")
	// ErrSilent is a peer that did not answer in time.
	ErrSilent = errors.New("no answer")
)

// Queue pair depths. One message of the peer is under way at a time; a second receive is
// posted so that none ever finds no receive. Of our work requests, three are under way.
const (
	recvDepth = 2
	sendDepth = 16
)

// What the queue pair is told, rdma_connect(3). One READ at a time, as rping wants.
// Soft-RoCE takes 7 retries as for ever.
const (
	readDepth     = 1
	retryCount    = 6
	rnrRetryCount = 7
)

// wrSend marks the work requests that are not receives, which are numbered from 0.
const wrSend = 1 << 8

// Config is what both halves need.
type Config struct {
	Fabric  rdma.Fabric
	Spin    time.Duration // how long to poll before sleeping, rawqp.Forever for always
	Timeout time.Duration // of one answer of the peer
}

// session is the half that client and server have in common.
type session struct {
	cfg         Config
	q           *rawqp.Queue
	recvs       [recvDepth]*rawqp.Buffer
	outstanding int      // sends, reads and writes under way
	inbox       []Advert // received and not asked for yet
	alarm       alarm
}

// alarm is the context of answerBy, which is made anew only when it has to: contexts with
// limits of their own would take a good part of a ping's time.
type alarm struct {
	parent context.Context //nolint:containedctx // whose child ctx is
	ctx    context.Context //nolint:containedctx // ends with ErrSilent
	end    context.CancelCauseFunc
	timer  *time.Timer
}

func newSession(cfg Config) session {
	return session{cfg: cfg, q: rawqp.New(cfg.Fabric, rawqp.Config{SendDepth: sendDepth, RecvDepth: recvDepth, Spin: cfg.Spin})}
}

// hooks are those of a connection whose queue pair is the session's; prepare makes what
// the half needs beside it.
func (s *session) hooks(prepare func() error, param func() rdma.ConnParam) libos.Hooks {
	return libos.Hooks{
		Create: func(id rdma.ID) error {
			err := s.q.Create(id)
			if err == nil {
				err = errors.Join(s.postReceives(), prepare())
				if err != nil {
					err = errors.Join(err, s.q.Destroy())
				}
			}
			return err
		},
		Param:   func(rdma.ID) rdma.ConnParam { return param() },
		Ended:   s.q.End,
		Destroy: s.q.Destroy,
	}
}

func (s *session) postReceives() error {
	for i := range s.recvs {
		b, err := s.q.NewBuffer(advertSize)
		if err != nil {
			return err
		}
		s.recvs[i] = b
		if err := s.q.Recv(uint64(i), b, advertSize); err != nil {
			return err
		}
	}
	return nil
}

// Close frees the session; its connection must have been released.
func (s *session) Close() error {
	if s.alarm.end != nil {
		s.alarm.end(nil)
	}
	return s.q.Close()
}

// receive waits for the peer's next message.
func (s *session) receive(ctx context.Context) (Advert, error) {
	for len(s.inbox) == 0 {
		if err := s.progress(ctx); err != nil {
			return Advert{}, err
		}
	}
	a := s.inbox[0]
	s.inbox = s.inbox[1:]
	return a, nil
}

// settle waits until at most n of our work requests are under way.
func (s *session) settle(ctx context.Context, n int) error {
	for s.outstanding > n {
		if err := s.progress(ctx); err != nil {
			return err
		}
	}
	return nil
}

// progress handles one completion.
func (s *session) progress(ctx context.Context) error {
	c, err := s.q.Next(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w (%w)", ErrDisconnected, err)
	case c.Status != rdma.WCSuccess:
		return statusError(c.Status, c.WR < wrSend)
	case c.WR >= wrSend:
		s.outstanding--
		return nil
	}
	b := s.recvs[c.WR]
	a, err := parseAdvert(b.Bytes[:min(c.Len, len(b.Bytes))])
	if err != nil {
		return err
	}
	if len(s.inbox) == recvDepth {
		return fmt.Errorf("%w: it sends without waiting for answers", ErrProtocol)
	}
	s.inbox = append(s.inbox, a)
	return s.posted(s.q.Recv(c.WR, b, advertSize))
}

// posted says of a failed post whether the connection had just ended.
func (s *session) posted(err error) error {
	if errors.Is(err, rawqp.ErrClosed) || errors.Is(err, errReset) {
		return fmt.Errorf("%w (%w)", ErrDisconnected, err)
	}
	return err
}

// sent counts a work request that was posted.
func (s *session) sent(err error) error {
	if err == nil {
		s.outstanding++
	}
	return s.posted(err)
}

// answerBy bounds the peer's next answer until answered is called; late tells the end of that
// time from the end of ctx. One goroutine calls it, one answer at a time.
func (s *session) answerBy(ctx context.Context) (_ context.Context, answered func()) {
	a := &s.alarm
	if a.parent == ctx && a.ctx.Err() == nil {
		a.timer.Reset(s.cfg.Timeout)
		return a.ctx, func() { a.timer.Stop() }
	}
	if a.end != nil {
		a.end(nil)
	}
	child, end := context.WithCancelCause(ctx)
	*a = alarm{ctx, child, end, time.AfterFunc(s.cfg.Timeout, func() { end(ErrSilent) })}
	return child, func() { a.timer.Stop() }
}

func (s *session) late(ctx context.Context, err error) error {
	if err != nil && errors.Is(err, ctx.Err()) && errors.Is(context.Cause(ctx), ErrSilent) {
		return fmt.Errorf("%w within %v", ErrSilent, s.cfg.Timeout)
	}
	return err
}

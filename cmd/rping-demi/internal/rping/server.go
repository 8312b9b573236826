package rping

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"catmint/cmd/rping-demi/internal/rawqp"
	"catmint/libos"
	"catmint/rdma"
)

// What a server waits for in the middle of a ping.
const (
	stepReadData  = "reading the client's data"
	stepSink      = "waiting for the client's second advertisement"
	stepWriteBack = "writing the data back"
)

// Server is the half that echoes the pings of one client.
type Server struct {
	session
	limit   int // bytes of a ping at most
	offer   libos.GateRequest
	data    *rawqp.Buffer
	goAhead *rawqp.Buffer
}

// NewServer makes a server for the client of a request. A ping has at most limit bytes.
func NewServer(cfg Config, offer libos.GateRequest, limit int) *Server {
	return &Server{session: newSession(cfg), offer: offer, limit: limit}
}

// Hooks are for a [libos.Verdict].
func (s *Server) Hooks() libos.Hooks {
	return s.hooks(s.prepare, func() rdma.ConnParam {
		return rdma.ConnParam{
			ResponderResources: min(readDepth, s.offer.ResponderResources),
			InitiatorDepth:     min(readDepth, s.offer.InitiatorDepth),
			RetryCount:         retryCount, RNRRetryCount: rnrRetryCount,
		}
	})
}

func (s *Server) prepare() (err error) {
	s.goAhead, err = s.q.NewBuffer(advertSize)
	return err
}

// Established is called once the connection is.
func (s *Server) Established() error { return s.q.Established() }

// Next echoes the client's next ping. It calls seen with what it has read, which is valid
// during the call, when the client has its answer, so that the client's round trip is not
// the longer for it, or has failed. io.EOF: the client has disconnected between two pings. A client that keeps silent between pings is not disturbed for it, but
// one whose host is gone is found out: see idle.
func (s *Server) Next(ctx context.Context, seen func([]byte)) error {
	source, err := s.idle(ctx)
	if errors.Is(err, ErrDisconnected) {
		return io.EOF
	}
	if err != nil {
		return during("waiting for a ping", err)
	}
	n := int(source.Size)
	if n < 1 || n > s.limit {
		return fmt.Errorf("the client advertises %d bytes, and this server takes 1 to %d (-S)", source.Size, s.limit)
	}
	if err := during(stepReadData, s.timed(ctx, func(ctx context.Context) error { return s.read(ctx, source) })); err != nil {
		return err
	}
	defer func() { seen(s.data.Bytes[:n]) }()
	var sink Advert
	err = s.timed(ctx, func(ctx context.Context) (err error) {
		if err = s.sent(s.q.Send(wrSend, s.goAhead, advertSize)); err == nil {
			sink, err = s.receive(ctx)
		}
		return err
	})
	if err != nil {
		return during(stepSink, err)
	}
	return during(stepWriteBack, s.writeBack(sink, n))
}

// idle waits for an advertisement. Nothing bounds the time between two pings, and a host
// that dies says nothing; so every while an RDMA WRITE of no bytes goes out, which touches
// no memory and which the peer's device answers by itself (IBTA C9-88: no key is needed).
func (s *Server) idle(ctx context.Context) (Advert, error) {
	for {
		wait, cancel := s.answerBy(ctx)
		a, err := s.receive(wait)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(context.Cause(wait), ErrSilent) {
			return a, err
		}
		if s.outstanding > 0 {
			return Advert{}, fmt.Errorf("%w within %v", ErrSilent, s.cfg.Timeout)
		}
		if err := s.sent(s.q.Write(wrSend, s.goAhead, 0, rawqp.Remote{})); err != nil {
			return Advert{}, err
		}
	}
}

func (s *Server) timed(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := s.answerBy(ctx)
	defer cancel()
	return s.late(ctx, f(ctx))
}

func (s *Server) read(ctx context.Context, source Advert) error {
	if err := s.settle(ctx, 0); err != nil { // the last WRITE may still need the buffer
		return err
	}
	if err := s.grow(int(source.Size)); err != nil {
		return err
	}
	err := s.sent(s.q.Read(wrSend, s.data, int(source.Size), rawqp.Remote{Addr: source.Addr, RKey: source.RKey}))
	if err != nil {
		return err
	}
	return s.settle(ctx, 0)
}

// grow makes room for n bytes.
func (s *Server) grow(n int) error {
	if s.data != nil && len(s.data.Bytes) >= n {
		return nil
	}
	if s.data != nil {
		if err := s.q.FreeBuffer(s.data); err != nil {
			return err
		}
		s.data = nil
	}
	b, err := s.q.NewBuffer(n)
	s.data = b
	return err
}

// writeBack writes the text up to and with its first NUL, as rping does. The go-ahead
// follows at once: a queue pair keeps the order.
func (s *Server) writeBack(sink Advert, n int) error {
	if i := bytes.IndexByte(s.data.Bytes[:n], 0); i >= 0 {
		n = i + 1
	}
	if int(sink.Size) < n {
		return fmt.Errorf("the client's sink has %d bytes, and its data %d", sink.Size, n)
	}
	err := s.sent(s.q.Write(wrSend, s.data, n, rawqp.Remote{Addr: sink.Addr, RKey: sink.RKey}))
	if err == nil {
		err = s.sent(s.q.Send(wrSend, s.goAhead, advertSize))
	}
	return err // read waits until both are done
}

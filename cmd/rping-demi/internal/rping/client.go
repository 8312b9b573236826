package rping

import (
	"context"
	"syscall"

	"catmint/cmd/rping-demi/internal/rawqp"
	"catmint/libos"
	"catmint/rdma"
)

// What a client waits for.
const (
	StepRead  = "waiting until the server has read the data"
	StepWrite = "waiting until the server has written the data back"
)

// Client is the half that sends pings.
type Client struct {
	session
	size         int // of the buffers
	source, sink *rawqp.Buffer
	advertised   int
	adverts      [2]*rawqp.Buffer // of source and sink
}

// NewClient makes a client for pings of up to size bytes.
func NewClient(cfg Config, size int) *Client {
	return &Client{session: newSession(cfg), size: size}
}

// Hooks are for [libos.Connector.Dial], with what to say in private data.
func (c *Client) Hooks(private []byte) libos.Hooks {
	return c.hooks(c.prepare, func() rdma.ConnParam {
		return rdma.ConnParam{
			PrivateData: private, ResponderResources: readDepth, InitiatorDepth: readDepth,
			RetryCount: retryCount, RNRRetryCount: rnrRetryCount,
		}
	})
}

func (c *Client) prepare() (err error) {
	for _, b := range []struct {
		to     **rawqp.Buffer
		advert **rawqp.Buffer
	}{{&c.source, &c.adverts[0]}, {&c.sink, &c.adverts[1]}} {
		if *b.to, err = c.q.NewBuffer(c.size); err != nil {
			return err
		}
		if *b.advert, err = c.q.NewBuffer(advertSize); err != nil {
			return err
		}
	}
	c.advertise(c.size)
	return nil
}

// advertise has the advertisements say n bytes.
func (c *Client) advertise(n int) {
	for i, b := range []*rawqp.Buffer{c.source, c.sink} {
		Advert{b.Addr(), b.RKey(), uint32(n)}.put(c.adverts[i].Bytes)
	}
	c.advertised = n
}

// Established is called once the connection is.
func (c *Client) Established() error { return c.q.Established() }

// Ping has the server echo p, which has at most the client's size (EMSGSIZE). What comes
// back is valid until the next Ping.
func (c *Client) Ping(ctx context.Context, p []byte) ([]byte, error) {
	if len(p) < 1 || len(p) > c.size {
		return nil, syscall.EMSGSIZE
	}
	if len(p) != c.advertised { // once nothing sends the old advertisements any more
		if err := c.settle(ctx, 0); err != nil {
			return nil, err
		}
		c.advertise(len(p))
	}
	clear(c.sink.Bytes) // so that what came back before does not pass for an answer
	copy(c.source.Bytes, p)
	for i, step := range []string{StepRead, StepWrite} {
		if err := during(step, c.exchange(ctx, c.adverts[i])); err != nil {
			return nil, err
		}
	}
	return c.sink.Bytes[:len(p)], nil
}

// exchange sends an advertisement and waits for the go-ahead.
func (c *Client) exchange(ctx context.Context, advert *rawqp.Buffer) error {
	ctx, cancel := c.answerBy(ctx)
	defer cancel()
	err := c.settle(ctx, sendDepth-1)
	if err == nil {
		err = c.sent(c.q.Send(wrSend, advert, advertSize))
	}
	if err == nil {
		_, err = c.receive(ctx)
	}
	return c.late(ctx, err)
}

package rdmanet

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/net/nettest"

	"catmint/libos"
)

// pipe makes pairs of connections for nettest, on hosts that stay.
func pipe(t *testing.T, a, b *Host, at string) nettest.MakePipe {
	return func() (c1, c2 net.Conn, stop func(), err error) {
		l, err := b.Listen("rdma", at)
		if err != nil {
			return nil, nil, nil, err
		}
		defer func() {
			if cerr := l.Close(); err == nil {
				err = cerr
			}
		}()
		c, err := a.DialContext(within(t), "rdma", l.Addr().String())
		if err != nil {
			return nil, nil, nil, err
		}
		s, err := l.AcceptRDMA()
		if err != nil {
			return nil, nil, nil, err
		}
		return c, s, func() {
			var wg sync.WaitGroup
			for _, c := range []*Conn{c, s} {
				wg.Go(func() { _ = c.Close() })
			}
			wg.Wait()
		}, nil
	}
}

func TestConnIsANetConn(t *testing.T) {
	_, a, b := simulated(t, libos.DefaultConfig())
	nettest.TestConn(t, pipe(t, a, b, "10.0.0.2:0"))
}

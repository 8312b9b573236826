package rdmanet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"catmint/libos"
	"catmint/rdma"
)

// Host dials and listens with one engine. Programs with much traffic may want several.
type Host struct{ e *libos.Engine }

// NewHost makes a host of an engine, which stays the caller's: close the connections and
// listeners before it.
func NewHost(e *libos.Engine) *Host { return &Host{e} }

// Default is the host of the package's functions, on this machine's RDMA devices and
// configured by the environment (docs/configuration.md). It is made when it is needed first
// and stays until the program ends. A variable that is misspelt is told on standard error. Its
// errors are those of libos.ConfigFromEnv and libos.Process.NewEngine.
var Default = sync.OnceValues(func() (*Host, error) {
	libos.WarnUnknownVariables(os.Stderr, os.Environ())
	cfg, err := libos.ConfigFromEnv(os.Getenv)
	if err != nil {
		return nil, err
	}
	p, err := libos.New(cfg, rdma.NewHardware())
	if err != nil {
		return nil, err
	}
	e, err := p.NewEngine()
	if err != nil {
		return nil, err
	}
	return NewHost(e), nil
})

// Dial connects over the default host; see Host.DialContext.
func Dial(network, address string) (*Conn, error) {
	return DialContext(context.Background(), network, address)
}

// DialContext connects over the default host; see Host.DialContext.
func DialContext(ctx context.Context, network, address string) (*Conn, error) {
	h, err := Default()
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return h.DialContext(ctx, network, address)
}

// Listen listens on the default host; see Host.Listen.
func Listen(network, address string) (*Listener, error) {
	h, err := Default()
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return h.Listen(network, address)
}

// Dial is DialContext without an end of its own: libos.Config.ConnectTimeout bounds it.
func (h *Host) Dial(network, address string) (*Conn, error) {
	return h.DialContext(context.Background(), network, address)
}

// DialContext connects to HOST:PORT. The network is "rdma", or "rdma4" or "rdma6" for
// addresses of one family ("tcp", "tcp4" and "tcp6" mean the same, for libraries that say so).
// If the host has several addresses they are tried in turn, and the first error is returned:
// a *net.OpError around a *libos.ConnectError, which says what to do and unwraps to the errno,
// or around ctx.Err.
func (h *Host) DialContext(ctx context.Context, network, address string) (*Conn, error) {
	fail := func(to net.Addr, err error) (*Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: to, Err: err}
	}
	addrs, err := resolve(ctx, network, address)
	if err != nil {
		return fail(nil, err)
	}
	var first error
	var at netip.AddrPort
	for _, a := range addrs {
		c, err := h.dial(ctx, a)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first, at = err, a
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fail(Addr{at}, first)
}

// NetDialContext is DialContext as http.Transport and others want it.
func (h *Host) NetDialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := h.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, at netip.AddrPort) (*Conn, error) {
	s, err := h.e.Socket(domain(at), unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	qt, err := s.Connect(at)
	if err != nil {
		_ = s.Close() // EBADF: closed already
		return nil, err
	}
	_, err = h.e.Wait(ctx, qt)
	if err == nil {
		return newConn(s), nil
	}
	if why := s.Err(); why != nil && ctx.Err() == nil {
		err = why
	}
	_ = s.Close()
	if ctx.Err() != nil {
		// Close has ended the token, if the connection had not.
		_, _ = h.e.Wait(context.Background(), qt)
	}
	return nil, err
}

// backlog is how many connections may be established before they are accepted.
const backlog = 128

// Listen listens on HOST:PORT, which must be an address of an RDMA network device; without a
// host on all of them, of IPv4 unless the network is "rdma6"; port 0 chooses one. For the
// network see DialContext. The error is a *net.OpError, around a *libos.ConnectError if the
// address cannot be bound.
func (h *Host) Listen(network, address string) (*Listener, error) {
	fail := func(at net.Addr, err error) (*Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: at, Err: err}
	}
	addrs, err := resolve(context.Background(), network, address)
	if err != nil {
		return fail(nil, err)
	}
	at := addrs[0]
	s, err := h.e.Socket(domain(at), unix.SOCK_STREAM, 0)
	if err != nil {
		return fail(Addr{at}, err)
	}
	if err = s.Bind(at); err == nil {
		err = s.Listen(backlog)
	}
	if err == nil {
		at, err = s.GetSockName()
	}
	if err != nil {
		_ = s.Close()
		return fail(Addr{at}, err)
	}
	return &Listener{s: s, addr: Addr{at}, deadline: newDeadline()}, nil
}

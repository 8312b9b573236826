package rdmanet

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"catmint/datapath"
	"catmint/libos"
)

// Conn is a byte stream over one queue pair; a net.Conn with all that one promises: deadlines
// may be moved at any time, each method may be called from any goroutine, and Close ends what
// is under way.
type Conn struct {
	s             *libos.Socket
	local, remote Addr
	in            reader
	out           writer

	mu     sync.Mutex
	closed bool
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
)

func newConn(s *libos.Socket) *Conn {
	info := s.Info()
	return &Conn{
		s: s, local: Addr{info.Local}, remote: Addr{info.Remote},
		in:  reader{s: s, deadline: newDeadline()},
		out: writer{s: s, deadline: newDeadline(), piece: firstPiece},
	}
}

// fail wraps what went wrong; the end of the stream is io.EOF and nothing else.
func (c *Conn) fail(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// Read reads what has arrived, at most len(b) bytes, and waits if there is nothing. io.EOF: the
// peer has closed, or CloseWrite was called there. Other errors are *net.OpError, around
// os.ErrDeadlineExceeded, net.ErrClosed or a syscall.Errno, such as ECONNRESET for a peer that
// has gone and ETIMEDOUT for one that is silent.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.fail("read", err)
}

// WriteTo writes the rest of the stream to w, without a copy of its own.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	n, err := c.in.writeTo(w)
	return n, c.fail("read", err)
}

// Write takes all of b, which the caller has back when it returns, and waits while 1 MiB that was
// written before is not with the peer. What goes wrong with bytes that were taken is told by
// a later call, as with TCP. Errors are as for Read; EPIPE: the peer has closed, or CloseWrite
// was called.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.fail("write", err)
}

// ReadFrom writes what r has until its io.EOF, reading straight into registered memory.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.out.readFrom(r)
	return n, c.fail("write", err)
}

// CloseWrite ends the stream to the peer, which reads io.EOF after everything written; reading
// goes on.
func (c *Conn) CloseWrite() error {
	return c.fail("close", c.out.end())
}

// Close ends the connection, and Reads and Writes under way with net.ErrClosed. It returns when
// everything written is with the peer's libOS, or the linger time is over (SO_LINGER, see
// docs/configuration.md): then bytes may be lost, and the error is ECANCELED. net.ErrClosed:
// closed already.
func (c *Conn) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return c.fail("close", net.ErrClosed)
	}
	c.in.deadline.close()
	c.out.deadline.close()
	err := c.s.Close()
	c.in.drop()
	if cut := c.out.drop(); err == nil {
		err = cut
	}
	return c.fail("close", err)
}

// LocalAddr is an Addr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is an Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadline(t, c.in.deadline, c.out.deadline) }

// SetReadDeadline sets the time at which Read fails with os.ErrDeadlineExceeded, one under way
// included; the zero time is never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, c.in.deadline) }

// SetWriteDeadline is the same for Write, which says how many bytes it took.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, c.out.deadline) }

func (c *Conn) setDeadline(t time.Time, ds ...*deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range ds {
		d.set(t)
	}
	return nil
}

// Socket is the connection's socket, for its options, times and counters. Pushing and popping
// by it mixes with the stream.
func (c *Conn) Socket() *libos.Socket { return c.s }

// free gives a message back.
func free(sga *datapath.SGArray) {
	_ = datapath.SGAFree(sga) // EINVAL only for what is not a message of ours
	*sga = datapath.SGArray{}
}

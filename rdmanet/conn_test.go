package rdmanet

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/libos"
)

// plain hides all methods but Read and Write, so that io.Copy uses those.
type plain struct{ io.ReadWriter }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte("rdmanet"))).Read(b) // never fails
	return b
}

// stream sends data by write and compares what read gives.
func stream(t *testing.T, c, s *Conn, data []byte, write func(c *Conn) error, read func(w io.Writer, s *Conn) error) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(write(c), c.CloseWrite()) }()
	var got bytes.Buffer
	require.NoError(t, read(&got, s))
	require.NoError(t, <-sent)
	require.Equal(t, sha256.Sum256(data), sha256.Sum256(got.Bytes()), "%d bytes of %d", got.Len(), len(data))
}

// odd writes data in pieces of many lengths.
func odd(w io.Writer, data []byte) error {
	for n := 1; len(data) > 0; n = n*3 + 1 {
		if n > 3<<20 {
			n = 1
		}
		k, err := w.Write(data[:min(n, len(data))])
		if err != nil {
			return err
		}
		data = data[k:]
	}
	return nil
}

func copyAll(w io.Writer, s *Conn) error {
	_, err := io.CopyBuffer(w, plain{s}, make([]byte, 1000))
	return err
}

func TestAStreamArrivesWholeWhateverTheLengthsOfWritesAndReads(t *testing.T) {
	data := random(9<<20 + 13)
	for name, way := range map[string]struct {
		write func(c *Conn) error
		read  func(w io.Writer, s *Conn) error
	}{
		"Write and Read": {func(c *Conn) error { return odd(c, data) }, copyAll},
		"ReadFrom and WriteTo": {
			func(c *Conn) error { _, err := c.ReadFrom(bytes.NewReader(data)); return err },
			func(w io.Writer, s *Conn) error { _, err := s.WriteTo(w); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := connected(t, libos.DefaultConfig())
			stream(t, c, s, data, way.write, way.read)
		})
	}
}

func TestPiecesAreAsShortAsThePeerDemands(t *testing.T) {
	small := libos.DefaultConfig()
	small.RecvSize, small.MaxMessage = 256, 200
	data := random(100_000)
	for name, write := range map[string]func(c *Conn) error{
		"Write":    func(c *Conn) error { return odd(c, data) },
		"ReadFrom": func(c *Conn) error { _, err := c.ReadFrom(bytes.NewReader(data)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			c, s := connected(t, small)
			stream(t, c, s, data, write, copyAll)
			stats, err := c.Socket().Stats()
			require.NoError(t, err)
			require.Greater(t, stats.Pushes, uint64(len(data)/256))
		})
	}
}

func TestBothDirectionsFlowAtTheSameTime(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	data := random(4 << 20)
	var wg sync.WaitGroup
	for _, from := range []*Conn{c, s} {
		wg.Go(func() {
			assert.NoError(t, odd(from, data))
			assert.NoError(t, from.CloseWrite())
		})
		wg.Go(func() {
			var got bytes.Buffer
			_, err := from.WriteTo(&got)
			if assert.NoError(t, err) {
				assert.Equal(t, sha256.Sum256(data), sha256.Sum256(got.Bytes()))
			}
		})
	}
	wg.Wait()
}

func TestAStreamEndsWithEOFAndThePeerMayStillWrite(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	_, err := c.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	_, err = c.Write([]byte("more"))
	require.ErrorIs(t, err, syscall.EPIPE)
	got, err := io.ReadAll(plain{s})
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
	_, err = s.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "and again")
	_, err = s.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	got, err = io.ReadAll(plain{c})
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
}

func TestNothingIsReadOrWrittenForNothing(t *testing.T) {
	c, _ := connected(t, libos.DefaultConfig())
	n, err := c.Read(nil)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = c.Write(nil)
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestAReadWhoseTimeIsOverLosesNothing(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	b := make([]byte, 3)
	require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := s.Read(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout())
	_, err = c.Write([]byte("abcdef"))
	require.NoError(t, err)
	_, err = s.Read(b)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "until the deadline is moved")
	require.NoError(t, s.SetReadDeadline(time.Time{}))
	for _, want := range []string{"abc", "def"} {
		_, err = io.ReadFull(s, b)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
}

func TestAWriteWhoseTimeIsOverSaysHowMuchItTook(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	data := random(8 << 20)
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := c.Write(data)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, n, len(data))
	require.Positive(t, n)
	require.NoError(t, c.SetWriteDeadline(time.Time{}))
	stream(t, c, s, data, func(c *Conn) error { _, err := c.Write(data[n:]); return err }, copyAll)
}

func TestCloseEndsReadsAndWritesUnderWay(t *testing.T) {
	cfg := libos.DefaultConfig()
	cfg.Linger = 100 * time.Millisecond
	c, _ := connected(t, cfg)
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	// Short ones wait for receives of the peer; large messages would be fetched at the end.
	var err error
	for err == nil {
		_, err = c.Write(make([]byte, 1000))
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the peer reads nothing")
	require.NoError(t, c.SetWriteDeadline(time.Time{}))
	ended := make(chan error, 2)
	go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
	go func() { _, err := c.Write(random(8 << 20)); ended <- err }()
	require.ErrorIs(t, c.Close(), syscall.ECANCELED, "the peer reads nothing")
	for range 2 {
		require.ErrorIs(t, <-ended, net.ErrClosed)
	}
	for name, err := range map[string]error{
		"close": c.Close(), "half": c.CloseWrite(), "deadline": c.SetDeadline(time.Now()),
		"read": second(c.Read(make([]byte, 1))), "write": second(c.Write([]byte("x"))),
		"read from": second64(c.ReadFrom(strings.NewReader("x"))), "write to": second64(c.WriteTo(io.Discard)),
	} {
		require.ErrorIs(t, err, net.ErrClosed, name)
	}
}

func second(_ int, err error) error     { return err }
func second64(_ int64, err error) error { return err }

func TestCloseWaitsUntilThePeerHasEverything(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	data := random(3 << 20)
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(plain{s}) // whole only without an error
		got <- b
	}()
	_, err := c.Write(data)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Equal(t, sha256.Sum256(data), sha256.Sum256(<-got))
}

func TestAPeerThatHasClosedIsAnErrorOfWrite(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	require.NoError(t, s.Close())
	_, err := c.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = c.Write([]byte("anybody there?"))
	require.ErrorIs(t, err, syscall.EPIPE)
	var oe *net.OpError
	require.ErrorAs(t, err, &oe)
	require.Equal(t, "write", oe.Op)
	require.Equal(t, c.RemoteAddr(), oe.Addr)
}

func TestAConnectionThatBreaksIsAnErrorOfBoth(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	require.NoError(t, s.Socket().SetLinger(0))
	require.NoError(t, s.Close())
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET, "and again")
	_, err = c.Write([]byte("x"))
	require.Error(t, err)
}

func TestWhatGoesWrongWithCopiesIsToldWithWhatWasCopied(t *testing.T) {
	c, s := connected(t, libos.DefaultConfig())
	broken := errors.New("broken")
	n, err := c.ReadFrom(io.MultiReader(strings.NewReader("first"), &failing{broken}))
	require.Equal(t, int64(5), n)
	require.ErrorIs(t, err, broken)
	_, err = s.WriteTo(&failing{broken})
	require.ErrorIs(t, err, broken)
	require.NoError(t, c.Close())
	got, err := io.ReadAll(plain{s})
	require.NoError(t, err)
	require.Equal(t, "first", string(got), "what was not written is still there")
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error)  { return 0, f.err }
func (f *failing) Write([]byte) (int, error) { return 0, f.err }

func TestAddressesAreThoseOfTheConnection(t *testing.T) {
	_, a, b := simulated(t, libos.DefaultConfig())
	for _, at := range []string{"10.0.0.2:0", "[fd00::2]:0"} {
		c, s := join(t, a, b, at)
		require.Equal(t, c.RemoteAddr().String(), s.LocalAddr().String())
		require.Equal(t, c.LocalAddr().String(), s.RemoteAddr().String())
		require.Equal(t, "rdma", c.LocalAddr().Network())
	}
}

func TestAWebServerRunsOverIt(t *testing.T) {
	_, a, b := simulated(t, libos.DefaultConfig())
	l, err := b.Listen("rdma", "10.0.0.2:0")
	require.NoError(t, err)
	body := random(1 << 20)
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(sent, body) {
				w.WriteHeader(http.StatusBadRequest)
			}
			_, _ = w.Write(sent)
		}),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	transport := &http.Transport{DialContext: a.NetDialContext}
	client := &http.Client{Transport: transport, Timeout: patience}
	post := func(i int) error {
		r, err := client.Post(fmt.Sprintf("http://%s/%d", l.Addr(), i), "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		got, err := io.ReadAll(r.Body)
		if err == nil && (r.StatusCode != http.StatusOK || !bytes.Equal(body, got)) {
			err = fmt.Errorf("%s with %d bytes", r.Status, len(got))
		}
		return err
	}
	errs := make(chan error, 8)
	for i := range cap(errs) {
		go func() { errs <- post(i) }()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	transport.CloseIdleConnections()
	require.NoError(t, server.Shutdown(within(t)))
	require.ErrorIs(t, <-served, http.ErrServerClosed)
}

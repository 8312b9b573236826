package rping

import (
	"context"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/cmd/rping-demi/internal/rawqp"
	"catmint/libos"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
)

func TestMain(m *testing.M) { rdmatest.Main(m) }

// patience is a generous limit for what should take milliseconds.
const patience = 30 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// bed is a network with a client's and a server's host.
type bed struct {
	net            *sim.Network
	client, server *sim.Host
	timeout        time.Duration // of an answer
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{net: sim.New(sim.Config{RealTime: true}), timeout: patience}
	t.Cleanup(func() { require.NoError(t, b.net.Close()) })
	host := func(name, addr string) *sim.Host {
		return b.net.AddHost(name, sim.DeviceConfig{Name: "sim" + name, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}})
	}
	b.client, b.server = host("a", "10.0.0.1/24"), host("b", "10.0.0.2/24")
	return b
}

func config() libos.Config {
	cfg := libos.DefaultConfig()
	cfg.FlushTimeout = time.Second
	return cfg
}

// half is one end of a connection, to close when the test ends.
type half struct {
	conn  *libos.RawConn
	close func() error
}

func (h half) end(t *testing.T) {
	t.Helper()
	_ = h.conn.Close()
	<-h.conn.Released()
	require.NoError(t, h.close())
}

// serve listens and takes one connection with these hooks; the address is where.
func (b *bed) serve(t *testing.T, hooks func(libos.GateRequest) libos.Hooks) (at netip.AddrPort, up <-chan *libos.RawConn) {
	t.Helper()
	p, err := libos.New(config(), b.server)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Shutdown(within(t))) })
	e, err := p.NewEngine()
	require.NoError(t, err)
	s, err := e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	came := make(chan *libos.RawConn, 1)
	require.NoError(t, s.SetGate(func(r libos.GateRequest) libos.Verdict {
		h := hooks(r)
		return libos.Verdict{Raw: &h, Up: func(c *libos.RawConn, err error) {
			if assert.NoError(t, err) {
				came <- c
			}
		}}
	}))
	require.NoError(t, s.Bind(netip.MustParseAddrPort("10.0.0.2:0")))
	require.NoError(t, s.Listen(1))
	at, err = s.GetSockName()
	require.NoError(t, err)
	return at, came
}

func (b *bed) dial(t *testing.T, at netip.AddrPort, h libos.Hooks) *libos.RawConn {
	t.Helper()
	con, err := libos.NewConnector(config(), b.client)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, con.Close(within(t))) })
	c, err := con.Dial(within(t), netip.AddrPort{}, at, h)
	require.NoError(t, err)
	return c
}

func (b *bed) config(h *sim.Host) Config { return Config{Fabric: h, Timeout: b.timeout} }

// pair connects a client and a server of ours.
func (b *bed) pair(t *testing.T, size int) (*Client, half, *Server, half) {
	t.Helper()
	var s *Server
	at, up := b.serve(t, func(r libos.GateRequest) libos.Hooks {
		s = NewServer(b.config(b.server), r, MaxSize)
		return s.Hooks()
	})
	c := NewClient(b.config(b.client), size)
	cc := half{b.dial(t, at, c.Hooks(nil)), c.Close}
	sc := half{<-up, s.Close}
	require.NoError(t, c.Established())
	require.NoError(t, s.Established())
	return c, cc, s, sc
}

// dummy is a peer without a protocol: a test plays its part.
type dummy struct {
	session
	msg  *rawqp.Buffer // what it says, longer than it should
	mem  *rawqp.Buffer // what it advertises
	conn half
}

const dummySize = 64

func newDummy(cfg Config) *dummy {
	return &dummy{session: newSession(cfg)}
}

func (d *dummy) theHooks() libos.Hooks {
	return d.hooks(func() (err error) {
		if d.msg, err = d.q.NewBuffer(2 * advertSize); err == nil {
			d.mem, err = d.q.NewBuffer(dummySize)
		}
		return err
	}, func() rdma.ConnParam {
		return rdma.ConnParam{ResponderResources: 1, InitiatorDepth: 1, RetryCount: 6, RNRRetryCount: 7}
	})
}

func (d *dummy) advert() Advert { return Advert{d.mem.Addr(), d.mem.RKey(), dummySize} }

// say sends the first n bytes of an advertisement and what follows it.
func (d *dummy) say(t *testing.T, a Advert, n int) {
	t.Helper()
	a.put(d.msg.Bytes)
	require.NoError(t, d.sent(d.q.Send(wrSend, d.msg, n)))
	require.NoError(t, d.settle(within(t), 0))
}

func (d *dummy) hear(t *testing.T) {
	t.Helper()
	_, err := d.receive(within(t))
	require.NoError(t, err)
}

// clientDummy connects a dummy to a server of ours.
func (b *bed) clientDummy(t *testing.T) (*dummy, *Server, half) {
	t.Helper()
	var s *Server
	at, up := b.serve(t, func(r libos.GateRequest) libos.Hooks {
		s = NewServer(b.config(b.server), r, MaxSize)
		return s.Hooks()
	})
	d := newDummy(b.config(b.client))
	d.conn = half{b.dial(t, at, d.theHooks()), d.Close}
	return d, s, half{<-up, s.Close}
}

// serverDummy connects a client of ours to a dummy.
func (b *bed) serverDummy(t *testing.T, size int) (*Client, half, *dummy) {
	t.Helper()
	d := newDummy(b.config(b.server))
	at, up := b.serve(t, func(libos.GateRequest) libos.Hooks { return d.theHooks() })
	c := NewClient(b.config(b.client), size)
	cc := half{b.dial(t, at, c.Hooks(nil)), c.Close}
	d.conn = half{<-up, d.Close}
	return c, cc, d
}

func background(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func ignore([]byte) {}

func TestPingsComeBackAndTheServerSeesThem(t *testing.T) {
	b := newBed(t)
	c, cc, s, sc := b.pair(t, 32)
	var seen []string
	served := background(func() error {
		for {
			if err := s.Next(within(t), func(p []byte) { seen = append(seen, string(p[:5])) }); err != nil {
				return err
			}
		}
	})
	for _, text := range []string{"one..", "two..", "three"} {
		p := append([]byte(text), make([]byte, 27)...)
		got, err := c.Ping(within(t), p)
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	cc.end(t)
	require.ErrorIs(t, <-served, io.EOF)
	sc.end(t)
	require.Equal(t, []string{"one..", "two..", "three"}, seen)
}

func TestOnlyTheTextUpToItsNULComesBack(t *testing.T) {
	b := newBed(t)
	c, cc, s, sc := b.pair(t, 8)
	served := background(func() error { return s.Next(within(t), ignore) })
	got, err := c.Ping(within(t), []byte("abc\x00efg\x00"))
	require.NoError(t, err)
	require.Equal(t, "abc\x00\x00\x00\x00\x00", string(got))
	require.NoError(t, <-served)
	cc.end(t)
	sc.end(t)
}

func TestAStaleConnectionBeginsAnewWithEverything(t *testing.T) {
	b := newBed(t)
	b.net.When(sim.Message(sim.REQ)).Reject(rdma.RejectStaleConn)
	c, cc, s, sc := b.pair(t, 8)
	served := background(func() error { return s.Next(within(t), ignore) })
	got, err := c.Ping(within(t), []byte("abcdefg\x00"))
	require.NoError(t, err)
	require.Equal(t, "abcdefg\x00", string(got))
	require.NoError(t, <-served)
	cc.end(t)
	sc.end(t)
}

func TestAServerIsNotFooledByItsClient(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(t *testing.T, d *dummy)
		is   error
		says string
	}{
		{"a client that goes in the middle", func(t *testing.T, d *dummy) {
			d.say(t, d.advert(), advertSize)
			d.hear(t)
			_ = d.conn.conn.Close()
		}, ErrDisconnected, stepSink},
		{"a client that goes between two pings", func(_ *testing.T, d *dummy) {
			_ = d.conn.conn.Close()
		}, io.EOF, "EOF"},
		{"a message that is too short", func(t *testing.T, d *dummy) {
			d.say(t, d.advert(), advertSize-1)
		}, ErrProtocol, "15 bytes"},
		{"a ping of no bytes", func(t *testing.T, d *dummy) {
			d.say(t, Advert{d.mem.Addr(), d.mem.RKey(), 0}, advertSize)
		}, nil, "advertises 0 bytes"},
		{"a ping of more bytes than allowed", func(t *testing.T, d *dummy) {
			d.say(t, Advert{d.mem.Addr(), d.mem.RKey(), MaxSize + 1}, advertSize)
		}, nil, "65536 bytes, and this server takes 1 to 65535 (-S)"},
		{"memory that is not the client's", func(t *testing.T, d *dummy) {
			d.say(t, Advert{d.mem.Addr(), d.mem.RKey() + 1, dummySize}, advertSize)
		}, nil, stepReadData + ": the peer refuses access"},
		{"a sink that is too small", func(t *testing.T, d *dummy) {
			for i := range d.mem.Bytes {
				d.mem.Bytes[i] = 'x'
			}
			d.say(t, d.advert(), advertSize)
			d.hear(t)
			d.say(t, Advert{d.mem.Addr(), d.mem.RKey(), dummySize - 1}, advertSize)
		}, nil, "sink has 63 bytes, and its data 64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t)
			d, s, sc := b.clientDummy(t)
			served := background(func() error { return s.Next(within(t), ignore) })
			tc.play(t, d)
			err := <-served
			require.ErrorContains(t, err, tc.says)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is)
			}
			d.conn.end(t)
			sc.end(t)
		})
	}
}

func TestAMessageThatIsTooLongEndsTheServer(t *testing.T) {
	b := newBed(t)
	d, s, sc := b.clientDummy(t)
	served := background(func() error { return s.Next(within(t), ignore) })
	d.advert().put(d.msg.Bytes)
	require.NoError(t, d.q.Send(wrSend, d.msg, advertSize+1))
	require.ErrorIs(t, <-served, ErrProtocol)
	d.conn.end(t)
	sc.end(t)
}

func TestAClientThatKeepsSilentInTheMiddleIsGivenUp(t *testing.T) {
	b := newBed(t)
	b.timeout = 50 * time.Millisecond
	d, s, sc := b.clientDummy(t)
	served := background(func() error { return s.Next(within(t), ignore) })
	d.say(t, d.advert(), advertSize)
	err := <-served
	require.ErrorIs(t, err, ErrSilent)
	require.ErrorContains(t, err, stepSink)
	d.conn.end(t)
	sc.end(t)
}

func TestAClientMayKeepSilentBetweenPings(t *testing.T) {
	b := newBed(t)
	b.timeout = 10 * time.Millisecond
	d, s, sc := b.clientDummy(t)
	// Each look at a client that may be dead is one more WRITE of no bytes: two go well.
	require.True(t, b.server.FailVerbs("simb", sim.CallPostSend, 3, 1, syscall.ENOMEM))
	require.ErrorIs(t, s.Next(within(t), ignore), syscall.ENOMEM)
	s.cfg.Timeout = patience
	served := background(func() error { return s.Next(within(t), ignore) })
	d.say(t, d.advert(), advertSize)
	d.hear(t)
	d.say(t, d.advert(), advertSize)
	d.hear(t)
	require.NoError(t, <-served)
	d.conn.end(t)
	sc.end(t)
}

func TestAServerNoticesThatItsClientsHostDied(t *testing.T) {
	b := newBed(t)
	b.timeout = 50 * time.Millisecond
	d, s, sc := b.clientDummy(t)
	b.client.PowerOff()
	err := s.Next(within(t), ignore)
	require.ErrorIs(t, err, ErrSilent)
	sc.end(t)
	d.conn.end(t)
}

func TestAClientNoticesThatItsServersHostDied(t *testing.T) {
	b := newBed(t)
	b.timeout = 50 * time.Millisecond
	c, cc, s, sc := b.pair(t, 8)
	served := background(func() error { return s.Next(within(t), ignore) })
	_, err := c.Ping(within(t), []byte("abcdefg\x00"))
	require.NoError(t, err)
	require.NoError(t, <-served)
	b.server.PowerOff()
	_, err = c.Ping(within(t), []byte("abcdefg\x00"))
	require.ErrorIs(t, err, ErrSilent)
	cc.end(t)
	sc.end(t)
}

func TestAClientIsNotFooledByItsServer(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(t *testing.T, d *dummy)
		is   error
		says string
	}{
		{"a server that goes before it reads", func(t *testing.T, d *dummy) {
			d.hear(t)
			_ = d.conn.conn.Close()
		}, ErrDisconnected, StepRead},
		{"a server that goes before it writes", func(t *testing.T, d *dummy) {
			d.hear(t)
			d.say(t, Advert{}, advertSize)
			d.hear(t)
			_ = d.conn.conn.Close()
		}, ErrDisconnected, StepWrite},
		{"a go-ahead that is too short", func(t *testing.T, d *dummy) {
			d.hear(t)
			d.say(t, Advert{}, 4)
		}, ErrProtocol, "4 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t)
			c, cc, d := b.serverDummy(t, 8)
			pinged := background(func() error {
				_, err := c.Ping(within(t), []byte("abcdefg\x00"))
				return err
			})
			tc.play(t, d)
			err := <-pinged
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.says)
			d.conn.end(t)
			cc.end(t)
		})
	}
}

func TestWhatWasNeverWrittenBackDoesNotPassForAnEcho(t *testing.T) {
	b := newBed(t)
	c, cc, d := b.serverDummy(t, 8)
	pinged := make(chan []byte, 1)
	go func() {
		got, err := c.Ping(within(t), []byte("abcdefg\x00"))
		assert.NoError(t, err)
		pinged <- got
	}()
	d.hear(t)
	d.say(t, Advert{}, advertSize)
	d.hear(t)
	d.say(t, Advert{}, advertSize)
	require.Equal(t, make([]byte, 8), <-pinged)
	cc.end(t)
	d.conn.end(t)
}

func TestAPingEndsWithItsContext(t *testing.T) {
	b := newBed(t)
	c, cc, d := b.serverDummy(t, 8)
	ctx, cancel := context.WithCancel(within(t))
	pinged := background(func() error {
		_, err := c.Ping(ctx, []byte("abcdefg\x00"))
		return err
	})
	d.hear(t)
	cancel()
	require.ErrorIs(t, <-pinged, context.Canceled)
	cc.end(t)
	d.conn.end(t)
}

func TestAConnectionThatCannotBeMadeLeavesNothingBehind(t *testing.T) {
	call := func(c sim.CallType) func(*bed) {
		return func(b *bed) { b.net.When(sim.Call(c)).At(b.client).Fail(syscall.ENOMEM) }
	}
	verbs := func(c sim.VerbsCall, nth int) func(*bed) {
		return func(b *bed) { b.client.FailVerbs("sima", c, nth, 1, syscall.ENOMEM) }
	}
	for name, fault := range map[string]func(*bed){
		"protection domain":  call(sim.CallAllocPD),
		"completion channel": call(sim.CallNewCompletionChannel),
		"completion queue":   call(sim.CallCreateCQ),
		"queue pair":         call(sim.CallCreateQP),
		"first memory":       verbs(sim.CallRegMR, 1),
		"last memory":        verbs(sim.CallRegMR, 6),
		"first receive":      verbs(sim.CallPostRecv, 1),
		"second receive":     verbs(sim.CallPostRecv, 2),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			at, _ := b.serve(t, func(libos.GateRequest) libos.Hooks {
				assert.Fail(t, "it connected all the same")
				return libos.Hooks{}
			})
			fault(b)
			con, err := libos.NewConnector(config(), b.client)
			require.NoError(t, err)
			c := NewClient(b.config(b.client), 8)
			_, err = con.Dial(within(t), netip.AddrPort{}, at, c.Hooks(nil))
			require.ErrorIs(t, err, syscall.ENOMEM)
			require.NoError(t, con.Close(within(t)))
			require.NoError(t, c.Close())
			require.NoError(t, c.Close(), "a second time")
		})
	}
}

func TestAReceiveThatDoesNotFitIsTheSameOnEveryDevice(t *testing.T) {
	require.ErrorIs(t, statusError(rdma.WCLocLenErr, true), ErrProtocol)
	require.ErrorIs(t, statusError(rdma.WCLocQPOpErr, true), ErrProtocol, "Soft-RoCE")
	require.NotErrorIs(t, statusError(rdma.WCLocQPOpErr, false), ErrProtocol)
}

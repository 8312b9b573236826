package libos

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/libos/hello"
	"catmint/rdma"
	"catmint/rdma/sim"
	"catmint/rdma/verbstest"
)

// Frames as a peer that means harm writes them: docs/protocol.md, section 3.
const (
	frameData   = 1
	frameCredit = 2
	frameRTS    = 3
	frameDone   = 4
	frameFIN    = 5
	frameFINACK = 6
	framePONG   = 8
	frameReset  = 9
)

// badFrame is a frame, right or wrong.
type badFrame struct {
	kind, flags       byte
	dataBack, ctlBack uint16
	seq               uint16
	length            uint32 // as the header says
	arg               uint32
	payload           []byte
}

func (f badFrame) bytes() []byte {
	b := make([]byte, frameHeader, frameHeader+len(f.payload))
	b[0], b[1] = f.kind, f.flags
	binary.LittleEndian.PutUint16(b[2:], f.dataBack)
	binary.LittleEndian.PutUint16(b[4:], f.ctlBack)
	binary.LittleEndian.PutUint16(b[6:], f.seq)
	binary.LittleEndian.PutUint32(b[8:], f.length)
	binary.LittleEndian.PutUint32(b[12:], f.arg)
	return append(b, f.payload...)
}

// message is a frame as it should be.
func message(seq uint16, payload string) badFrame {
	return badFrame{kind: frameData, seq: seq, length: uint32(len(payload)), payload: []byte(payload)}
}

func rts(addr, length uint64, key uint32) badFrame {
	body := make([]byte, 24)
	binary.LittleEndian.PutUint64(body, addr)
	binary.LittleEndian.PutUint64(body[8:], length)
	binary.LittleEndian.PutUint32(body[16:], key)
	return badFrame{kind: frameRTS, length: 24, payload: body}
}

// villain is a peer with bare verbs that has said a proper hello.
type villain struct {
	t       *testing.T
	f       rdma.Fabric
	con     *Connector
	raw     *RawConn
	pd      rdma.PD
	cq      rdma.CQ
	buffers []*verbstest.Buffer

	mu sync.Mutex
	qp rdma.QP // nil once the event loop has destroyed it: the victim may hang up at any frame
}

func newVillain(t *testing.T, f rdma.Fabric, at netip.AddrPort) *villain {
	t.Helper()
	con, err := NewConnector(testConfig(), f)
	require.NoError(t, err)
	v := &villain{t: t, f: f, con: con}
	offer := hello.Hello{
		Kind: hello.Offer, MinVersion: hello.MinVersion, MaxVersion: hello.MaxVersion, RecvSize: 8192,
		DataWindow: 4, CtrlWindow: 4, MaxMessage: 1 << 30, Nonce: rand.Uint64(),
	}
	v.raw, err = con.Dial(within(t), netip.AddrPort{}, at, Hooks{
		Create: v.create,
		Param: func(rdma.ID) rdma.ConnParam {
			return rdma.ConnParam{
				PrivateData: offer.Marshal(), ResponderResources: 4, InitiatorDepth: 4, RetryCount: 6, RNRRetryCount: 7,
			}
		},
		Destroy: v.destroy,
	})
	require.NoError(t, err)
	return v
}

func (v *villain) create(id rdma.ID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var err error
	if v.pd, err = id.Device().AllocPD(); err != nil {
		return err
	}
	if v.cq, err = id.Device().CreateCQ(64, nil); err != nil {
		return err
	}
	v.qp, err = id.CreateQP(v.pd, rdma.QPInitAttr{
		SendCQ: v.cq, RecvCQ: v.cq,
		Caps: rdma.QPCaps{MaxSendWR: 32, MaxRecvWR: 16, MaxSendSGE: 1, MaxRecvSGE: 1},
	})
	for i := 0; err == nil && i < 8; i++ {
		var b *verbstest.Buffer
		if b, err = v.buffer(8192); err == nil {
			err = b.PostRecv(v.qp, 0)
		}
	}
	return err
}

func (v *villain) destroy() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	qp := v.qp
	v.qp = nil
	return qp.Close()
}

// post posts to the queue pair, if there still is one.
func (v *villain) post(post func(qp rdma.QP) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.qp == nil {
		return syscall.ENOTCONN
	}
	return post(v.qp)
}

func (v *villain) buffer(n int) (*verbstest.Buffer, error) {
	b, err := verbstest.NewBuffer(v.f, v.pd, n)
	if err == nil {
		v.buffers = append(v.buffers, b)
	}
	return b, err
}

func (v *villain) send(frames ...badFrame) {
	v.t.Helper()
	for _, f := range frames {
		v.sendBytes(f.bytes())
	}
}

func (v *villain) sendBytes(b []byte) {
	v.t.Helper()
	buf, err := v.buffer(max(len(b), 1))
	require.NoError(v.t, err)
	copy(buf.Bytes, b)
	// Its queue pair may have failed at the frame before.
	if err := v.post(func(qp rdma.QP) error { return buf.PostSend(qp, 0, len(b)) }); err != nil {
		v.t.Log(err)
	}
}

func (v *villain) close() {
	v.t.Helper()
	_ = v.raw.Close()
	select {
	case <-v.raw.Released():
	case <-within(v.t).Done():
		require.FailNow(v.t, "the queue pair of a hostile peer is not released")
	}
	require.NoError(v.t, v.con.Close(within(v.t)))
	for _, b := range v.buffers {
		require.NoError(v.t, b.Free())
	}
	require.NoError(v.t, v.cq.Close())
	require.NoError(v.t, v.pd.Close())
}

// attacks are what a peer may send, and the errno with which its connection must end. With 0, it
// ends with any: the device itself has seen what is wrong.
var attacks = []struct {
	name string
	do   func(v *villain)
	want syscall.Errno
}{
	{"noise", func(v *villain) {
		b := make([]byte, 200)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range b {
			b[i] = byte(rng.Uint32()) | 0x80
		}
		v.sendBytes(b)
	}, syscall.EPROTO},
	{"nothing", func(v *villain) { v.sendBytes(nil) }, syscall.EPROTO},
	{"half a header", func(v *villain) { v.sendBytes([]byte("short")) }, syscall.EPROTO},
	{"no such frame", func(v *villain) { v.send(badFrame{kind: 77}) }, syscall.EPROTO},
	{"a flag without meaning", func(v *villain) { v.send(badFrame{kind: frameCredit, flags: 0x40}) }, syscall.EPROTO},
	{"a length that lies", func(v *villain) {
		f := message(0, "eight...")
		f.length = 1 << 30
		v.send(f)
	}, syscall.EPROTO},
	{"a wrong sequence", func(v *villain) { v.send(message(0, "good"), message(3, "bad")) }, syscall.EPROTO},
	{"one frame twice", func(v *villain) { v.send(message(0, "good"), message(0, "good")) }, syscall.EPROTO},
	{"data receives returned that were not used", func(v *villain) {
		v.send(badFrame{kind: frameCredit, dataBack: 9})
	}, syscall.EPROTO},
	{"control receives returned that were not used", func(v *villain) {
		v.send(badFrame{kind: frameCredit, ctlBack: 0xffff})
	}, syscall.EPROTO},
	{"a window that grows beyond all bounds", func(v *villain) {
		v.send(badFrame{kind: frameCredit, arg: 1 << 31})
	}, syscall.EPROTO},
	{"more messages than there are receives for", func(v *villain) {
		for i := range uint16(8) {
			v.send(message(i, "steals"))
		}
	}, syscall.EPROTO},
	{"more control frames than there are receives for", func(v *villain) {
		for i := range uint16(24) { // none of which returns what the victim's answers use
			v.send(badFrame{kind: frameCredit, seq: i})
		}
	}, syscall.EPROTO},
	{"a message after the last one", func(v *villain) {
		v.send(badFrame{kind: frameFIN}, message(1, "late"))
	}, syscall.EPROTO},
	{"FIN_ACK of no FIN", func(v *villain) { v.send(badFrame{kind: frameFINACK}) }, syscall.EPROTO},
	{"PONG of no PING", func(v *villain) { v.send(badFrame{kind: framePONG, arg: 12345}) }, syscall.EPROTO},
	{"DONE of no RTS", func(v *villain) { v.send(badFrame{kind: frameDone, arg: 7}) }, syscall.EPROTO},
	{"RESET of no RTS", func(v *villain) { v.send(badFrame{kind: frameReset, arg: 0xffffffff}) }, syscall.EPROTO},
	{"an RTS out of turn", func(v *villain) {
		f := rts(0x1000, 100_000, 1)
		f.arg = 5
		v.send(f)
	}, syscall.EPROTO},
	{"an RTS with a wild address", func(v *villain) { v.send(rts(0xdead0000, 100_000, 1)) }, syscall.EPROTO},
	{"an RTS with a wild key of good memory", func(v *villain) {
		b, err := v.buffer(100_000)
		require.NoError(v.t, err)
		v.send(rts(b.Addr(), 100_000, b.RKey()^0x5a5a5a5a))
	}, syscall.EPROTO},
	{"an RTS of more than is there", func(v *villain) {
		b, err := v.buffer(3 << 20)
		require.NoError(v.t, err)
		v.send(rts(b.Addr(), 3<<20+1, b.RKey())) // the last READ of several
	}, syscall.EPROTO},
	{"an RTS of 2^40 bytes", func(v *villain) { v.send(rts(0x1000, 1<<40, 1)) }, syscall.EPROTO},
	{"an RTS of all bytes there are", func(v *villain) { v.send(rts(^uint64(0)-4096, ^uint64(0), 1)) }, syscall.EPROTO},
	{"an RTS that wraps", func(v *villain) { v.send(rts(^uint64(0)-50, 100_000, 1)) }, syscall.EPROTO},
	{"an RTS of no bytes", func(v *villain) { v.send(rts(0x1000, 0, 1)) }, syscall.EPROTO},
	{"an RTS without its body", func(v *villain) { v.send(badFrame{kind: frameRTS}) }, syscall.EPROTO},
	{"a WRITE to where it may not", func(v *villain) {
		b, err := v.buffer(64)
		require.NoError(v.t, err)
		require.NoError(v.t, v.post(func(qp rdma.QP) error { return b.PostWrite(qp, 0, 64, 0xdead0000, 0x1234) }))
	}, 0},
	{"a frame that is longer than a receive", func(v *villain) { v.sendBytes(make([]byte, 20_000)) }, 0},
}

// hostile has a villain on fabric f attack b, in every way, while a and b talk to each other.
func hostile(t *testing.T, f rdma.Fabric, a, b *node) {
	t.Helper()
	l, at := b.listen(t, b.addr, 4)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	talk := newTalk(c, s)
	defer talk.stop()
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			talk.rounds(t, 3)
			v := newVillain(t, f, at)
			defer v.close()
			victim := b.accept(t, l)
			large, err := victim.Push(make([]byte, 100_000)) // an RTS that nobody answers
			require.NoError(t, err)
			pop, err := victim.Pop()
			require.NoError(t, err)
			attack.do(v)
			got := b.waitErrno(t, large)
			if attack.want == 0 {
				require.NotZero(t, got)
			} else {
				require.Equal(t, attack.want, got)
			}
			endOf(t, b, victim, pop, got)
			qt, err := victim.Push([]byte("more"))
			require.NoError(t, err)
			require.Equal(t, got, b.waitErrno(t, qt))
			require.NoError(t, victim.Close())
			talk.rounds(t, 3)
		})
	}
	talk.stop()
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
	b.quiesce(t)
}

// endOf pops what came before the attack; behind that is want, or the end if a FIN came, too.
func endOf(t *testing.T, n *node, s *Socket, pop datapath.Token, want syscall.Errno) {
	t.Helper()
	for range 10 {
		r, err := n.e.Wait(within(t), pop)
		if r.Opcode == datapath.OpFailed {
			require.Equal(t, want, errno(err))
			return
		}
		require.NoError(t, err)
		if len(TakeBytes(&r)) == 0 {
			return
		}
		pop, err = s.Pop()
		require.NoError(t, err)
	}
	require.FailNow(t, "the connection lives on")
}

// talk is an exchange of messages that never ends.
type talk struct {
	quit, done chan struct{}
	once       sync.Once

	mu     sync.Mutex
	moved  sync.Cond
	count  int
	failed error
}

func newTalk(c, s *Socket) *talk {
	x := &talk{quit: make(chan struct{}), done: make(chan struct{})}
	x.moved.L = &x.mu
	go func() {
		defer close(x.done)
		for i := 0; ; i++ {
			select {
			case <-x.quit:
				return
			default:
			}
			size := 100
			if i%3 == 0 {
				size = 50_000
			}
			err := carry(c, s, i, size)
			if err == nil {
				err = carry(s, c, i, size)
			}
			x.mu.Lock()
			x.count, x.failed = i+1, err
			x.moved.Broadcast()
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return x
}

// carry sends message i from one end to the other and judges it.
func carry(from, to *Socket, i, size int) error {
	out, err := from.Push(payload(make([]byte, size), i))
	if err != nil {
		return err
	}
	in, err := to.Pop()
	if err != nil {
		return err
	}
	r, err := redeem(in)
	if err != nil {
		return err
	}
	if got := TakeBytes(&r); string(got) != string(payload(make([]byte, size), i)) {
		return fmt.Errorf("message %d of %d bytes is not what was sent", i, len(got))
	}
	_, err = redeem(out)
	return err
}

// rounds waits until n more exchanges have been good.
func (x *talk) rounds(t *testing.T, n int) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for end := x.count + n; x.count < end && x.failed == nil; {
		x.moved.Wait()
	}
	require.NoError(t, x.failed, "another connection of the same engine")
}

func (x *talk) stop() {
	x.once.Do(func() { close(x.quit) })
	<-x.done
}

func TestAPeerThatBreaksTheRulesLosesItsConnectionAndHarmsNoOther(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{RetryPolls: 100})
	hostile(t, p.hosts[0], p.a, p.b)
	require.Zero(t, p.net.Census().CQOverruns)
}

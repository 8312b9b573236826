package libos

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma/sim"
)

// trafficPatience is for whole exchanges, on emulated machines too.
const trafficPatience = 10 * time.Minute

// redeem waits inside C, as C programs do.
func redeem(qt datapath.Token) (datapath.Result, error) {
	var r datapath.Result
	if err := datapath.Wait(qt, &r, trafficPatience); err != nil {
		return r, err
	}
	return r, r.Err()
}

// payload is message i of size bytes: its number and a run that depends on it.
func payload(b []byte, i int) []byte {
	rng := rand.New(rand.NewPCG(uint64(i), uint64(len(b))))
	for j := range b {
		b[j] = byte(rng.Uint32())
	}
	binary.LittleEndian.PutUint64(b, uint64(i))
	return b
}

// sendMany pushes count messages with up to 64 under way.
func sendMany(s *Socket, count, size int) error {
	b := make([]byte, size)
	return sendEach(s, count, func(i int) []byte { return payload(b, i) })
}

func sendEach(s *Socket, count int, message func(i int) []byte) error {
	var under []datapath.Token
	for i := range count {
		qt, err := s.Push(message(i))
		if err != nil {
			return fmt.Errorf("push %d: %w", i, err)
		}
		if under = append(under, qt); len(under) == 64 {
			if _, err := redeem(under[0]); err != nil {
				return fmt.Errorf("push %d: %w", i-63, err)
			}
			under = under[1:]
		}
	}
	for _, qt := range under {
		if _, err := redeem(qt); err != nil {
			return err
		}
	}
	return nil
}

// recvMany pops count messages and judges each.
func recvMany(s *Socket, count, size int) error {
	want := make([]byte, size)
	return recvEach(s, count, func(i int, got []byte) bool { return string(got) == string(payload(want, i)) })
}

func recvEach(s *Socket, count int, good func(i int, got []byte) bool) error {
	for i := range count {
		qt, err := s.Pop()
		if err != nil {
			return fmt.Errorf("pop %d: %w", i, err)
		}
		r, err := redeem(qt)
		if err != nil {
			return fmt.Errorf("pop %d: %w", i, err)
		}
		if got := TakeBytes(&r); !good(i, got) {
			return fmt.Errorf("message %d of %d bytes is not what was sent", i, len(got))
		}
	}
	return nil
}

// exchange sends count messages of size bytes both ways, or one way only.
func exchange(t *testing.T, a, b *node, count, size int, bothWays bool) {
	t.Helper()
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	run := func(f func(*Socket, int, int) error, s *Socket) {
		wg.Go(func() {
			if err := f(s, count, size); err != nil {
				errs <- err
			}
		})
	}
	start := time.Now()
	run(sendMany, c)
	run(recvMany, s)
	if bothWays {
		run(sendMany, s)
		run(recvMany, c)
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	each := time.Since(start) / time.Duration(count)
	got, err := s.Stats()
	require.NoError(t, err)
	t.Logf("%d messages of %d bytes, both ways %t: %v each, window %d, %d CREDITs",
		count, size, bothWays, each, got.Window, got.CreditsOut)
	require.LessOrEqual(t, got.Window, uint64(b.p.Config().MaxDataWindow))
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

// slowReceiver pushes without anybody popping: the tokens must be held back, and then
// nothing be lost.
func slowReceiver(t *testing.T, a, b *node, count, size int) {
	t.Helper()
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	var qts []datapath.Token
	msg := make([]byte, size)
	for i := range count {
		qt, err := c.Push(payload(msg, i))
		require.NoError(t, err)
		qts = append(qts, qt)
	}
	var r datapath.Result
	require.ErrorIs(t, datapath.Wait(qts[count-1], &r, 200*time.Millisecond), syscall.ETIMEDOUT,
		"the last push completed with nobody to take it")
	require.NoError(t, recvMany(s, count, size))
	for _, qt := range qts {
		_, err := redeem(qt)
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

// largestEager is the largest message that goes without rendezvous.
func largestEager(n *node) int { return int(n.p.Config().RecvSize) - frameHeader }

func TestMessagesArriveIntactAndInOrder(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	for _, bothWays := range []bool{true, false} {
		exchange(t, p.a, p.b, n, 64, bothWays)
		exchange(t, p.a, p.b, n/50, largestEager(p.a), bothWays)
	}
	require.Zero(t, p.net.Census().RNRNaks, "a receiver was not ready")
	require.Zero(t, p.net.Census().CQOverruns)
}

func TestAReceiverThatPopsSlowlyHoldsTheSenderBack(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	slowReceiver(t, p.a, p.b, 300, largestEager(p.a))
	require.Zero(t, p.net.Census().RNRNaks, "a receiver was not ready")
}

func TestLargeMessagesArriveIntactAndInOrder(t *testing.T) {
	for _, iwarp := range []bool{false, true} {
		t.Run(fmt.Sprintf("iWARP %t", iwarp), func(t *testing.T) { largeMessages(t, sim.DeviceConfig{IWARP: iwarp}) })
	}
}

func largeMessages(t *testing.T, on sim.DeviceConfig) {
	t.Helper()
	p := newPairOn(t, testConfig(), sim.Config{}, on)
	for _, size := range []int{largestEager(p.a) + 1, 64 << 10, 1<<20 + 1} {
		n := 200 << 10 / size * 20
		if testing.Short() {
			n /= 10
		}
		exchange(t, p.a, p.b, max(n, 20), size, true)
		exchange(t, p.a, p.b, max(n, 20), size, false)
	}
	require.Zero(t, p.net.Census().RNRNaks, "a receiver was not ready")
	require.Zero(t, p.net.Census().CQOverruns)
}

func TestAReceiverThatPopsSlowlyHoldsLargeMessagesBack(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	slowReceiver(t, p.a, p.b, 20, 1<<20)
	require.Zero(t, p.net.Census().RNRNaks, "a receiver was not ready")
}

// closeBehindLarge pushes count large messages and closes at once: nothing may be lost.
func closeBehindLarge(t *testing.T, a, b *node, count, size int) {
	t.Helper()
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	require.NoError(t, c.SetLinger(time.Minute))
	var qts []datapath.Token
	msg := make([]byte, size)
	for i := range count {
		qt, err := c.Push(payload(msg, i))
		require.NoError(t, err)
		qts = append(qts, qt)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := recvMany(s, count, size); err != nil {
			t.Error(err)
		}
		if got := b.recv(t, s); got != "" {
			t.Errorf("%d bytes behind the last message", len(got))
		}
	})
	require.NoError(t, c.Close())
	wg.Wait()
	for _, qt := range qts {
		_, err := redeem(qt)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

func TestCloseLosesNoLargeMessage(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	closeBehindLarge(t, p.a, p.b, 1, 1<<20)
	closeBehindLarge(t, p.a, p.b, 9, 300_000)
}

func TestAMessageAboveWhatThePeerTakesIsTooLong(t *testing.T) {
	cfg := testConfig()
	cfg.MaxMessage = 100_000
	p := newPlace(t, cfg)
	c, _, _ := p.connected(t)
	_, err := c.Push(make([]byte, 100_001))
	require.ErrorIs(t, err, syscall.EMSGSIZE)
	qt, err := c.Push(make([]byte, 8))
	require.NoError(t, err)
	_, err = redeem(qt)
	require.NoError(t, err)
}

package datapath_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
)

func TestAnEngineCannotGoWhileSomethingOfItLives(t *testing.T) {
	e, err := datapath.NewEngine(datapath.Config{})
	require.NoError(t, err)
	qd, err := datapath.AllocQD(e)
	require.NoError(t, err)
	require.GreaterOrEqual(t, qd, datapath.QDFirst)
	require.ErrorIs(t, e.Destroy(), syscall.EBUSY)
	require.Equal(t, e.Handle(), datapath.QDEngine(qd).Handle())
	require.Equal(t, e.Index(), datapath.EngineFromHandle(e.Handle()).Index())
	require.NoError(t, datapath.FreeQD(qd))
	qt, err := datapath.AllocToken(e, qd, datapath.OpConnect)
	require.NoError(t, err)
	require.ErrorIs(t, e.Destroy(), syscall.EBUSY)
	require.NoError(t, datapath.AbandonToken(qt))
	require.NoError(t, e.Destroy())
	require.ErrorIs(t, e.Destroy(), syscall.EINVAL)
	require.Nil(t, datapath.QDEngine(qd))
	// What names an engine that has gone is invalid, not a crash.
	require.ErrorIs(t, datapath.AbandonToken(qt), syscall.EINVAL)
	var r datapath.Result
	require.ErrorIs(t, datapath.Wait(qt, &r, datapath.Forever), syscall.EINVAL)
	_, err = datapath.AllocToken(e, qd, datapath.OpConnect)
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = datapath.AllocQD(e)
	require.ErrorIs(t, err, syscall.EINVAL)
}

func TestAnEngineRefusesWhatItDoesNotKnow(t *testing.T) {
	_, err := datapath.NewEngine(datapath.Config{WaitMode: 7})
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = datapath.NewEngine(datapath.Config{MaxTokens: 1 << 30})
	require.ErrorIs(t, err, syscall.EINVAL)
}

func TestADescriptorKeepsItsState(t *testing.T) {
	e := newEngine(t)
	qd := newQD(t, e)
	for s := datapath.QDSocket; s <= datapath.QDClosing; s++ {
		require.NoError(t, datapath.SetQDState(qd, s))
		require.Equal(t, s, datapath.GetQDState(qd), s.String())
	}
	require.Equal(t, datapath.QDFree, datapath.GetQDState(-1))
	require.ErrorIs(t, datapath.SetQDState(-1, datapath.QDSocket), syscall.EBADF)
	require.ErrorIs(t, datapath.FreeQD(-1), syscall.EBADF)
}

func TestATokenCarriesItsResult(t *testing.T) {
	e := newEngine(t)
	qd := newQD(t, e)
	var r datapath.Result

	qt, err := datapath.AllocToken(e, qd, datapath.OpConnect)
	require.NoError(t, err)
	require.ErrorIs(t, datapath.RedeemToken(qt, &r), syscall.ETIMEDOUT)
	require.NoError(t, datapath.CompleteToken(qt, datapath.OpConnect))
	require.NoError(t, datapath.RedeemToken(qt, &r))
	require.NoError(t, r.Err())
	assert.Equal(t, datapath.OpConnect, r.Opcode)
	assert.Equal(t, qd, r.QD)
	assert.Equal(t, qt, r.Token)

	qt, err = datapath.AllocToken(e, qd, datapath.OpConnect)
	require.NoError(t, err)
	require.NoError(t, datapath.FailToken(qt, syscall.ECONNREFUSED))
	require.NoError(t, datapath.Wait(qt, &r, datapath.Forever))
	require.ErrorIs(t, r.Err(), syscall.ECONNREFUSED)
	assert.Equal(t, datapath.OpFailed, r.Opcode)

	qt, err = datapath.AllocToken(e, qd, datapath.OpAccept)
	require.NoError(t, err)
	want := datapath.AcceptResult{QD: 555, Addr: [16]byte{2, 0, 1, 2}}
	require.NoError(t, datapath.CompleteAccept(qt, want))
	i, err := datapath.WaitAny([]datapath.Token{qt}, &r, time.Second)
	require.NoError(t, err)
	assert.Zero(t, i)
	assert.Equal(t, want, r.Accept())

	_, err = datapath.WaitAny(nil, &r, 0)
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = datapath.WaitNextN(e, nil, 0)
	require.ErrorIs(t, err, syscall.EINVAL)
	n, err := datapath.WaitNextN(e, make([]datapath.Result, 3), time.Millisecond)
	require.True(t, datapath.IsTimeout(err))
	require.Zero(t, n)
}

func TestAWatchedTokenRingsTheNoticeDescriptor(t *testing.T) {
	e := newEngine(t)
	qt, err := datapath.AllocToken(e, 500, datapath.OpClose)
	require.NoError(t, err)
	done, _, err := datapath.WatchToken(qt)
	require.NoError(t, err)
	require.False(t, done)
	require.Zero(t, e.Notices(nil))
	go func() { _ = datapath.AbandonToken(qt) }()
	poll := []unix.PollFd{{Fd: int32(e.NoticeFD()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, int(patience.Milliseconds()))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 1, n)
		break
	}
	buf := make([]datapath.Notice, 4)
	require.Equal(t, 1, e.Notices(buf))
	require.Equal(t, datapath.Notice{Kind: datapath.NoticeToken, Cookie: uint64(qt)}, buf[0])
	var r datapath.Result
	require.ErrorIs(t, datapath.RedeemToken(qt, &r), syscall.EINVAL)
	require.ErrorIs(t, datapath.UnwatchToken(qt), syscall.EINVAL)
}

func TestAWatchedTokenThatTheControlPlaneCompletesRingsNothing(t *testing.T) {
	e := newEngine(t)
	buf := make([]datapath.Notice, 4)
	for range 200 { // more than there are places for notices
		qt, err := datapath.AllocToken(e, 500, datapath.OpConnect)
		require.NoError(t, err)
		_, setsUp, err := datapath.WatchToken(qt)
		require.NoError(t, err)
		require.True(t, setsUp)
		require.NoError(t, datapath.CompleteToken(qt, datapath.OpConnect))
		require.Zero(t, e.Notices(buf))
		n, err := datapath.WaitNextN(e, make([]datapath.Result, 1), 0)
		require.True(t, datapath.IsTimeout(err), "it is its watcher's: %v", err)
		require.Zero(t, n)
		var r datapath.Result
		require.NoError(t, datapath.RedeemToken(qt, &r))
	}
	qt, err := datapath.AllocToken(e, 500, datapath.OpClose)
	require.NoError(t, err)
	_, setsUp, err := datapath.WatchToken(qt)
	require.NoError(t, err)
	require.False(t, setsUp)
	require.NoError(t, datapath.AbandonToken(qt))
}

func TestMemoryIsBytesUntilItIsFreed(t *testing.T) {
	e := newEngine(t)
	var null datapath.SGArray
	require.True(t, null.IsNull())
	require.Nil(t, null.Bytes())
	require.ErrorIs(t, datapath.SGAFree(&null), syscall.EINVAL)
	for _, size := range []int{0, -1, 1<<30 + 1} {
		_, err := datapath.SGAAlloc(e, size)
		require.ErrorIs(t, err, syscall.EINVAL)
	}
	s, err := datapath.SGAAlloc(e, 1000)
	require.NoError(t, err)
	require.Len(t, s.Bytes(), 1000)
	copy(s.Bytes()[10:], "catmint")
	require.ErrorIs(t, s.Slice(-1, 5), syscall.EINVAL)
	require.ErrorIs(t, s.Slice(5, 4), syscall.EINVAL)
	require.ErrorIs(t, s.Slice(0, 1001), syscall.EINVAL)
	require.NoError(t, s.Slice(10, 17))
	require.Equal(t, "catmint", string(s.Bytes()))
	require.NoError(t, datapath.SGAFree(&s))
	require.ErrorIs(t, datapath.SGAFree(&s), syscall.EINVAL)
}

// A program keeps its messages beside other things; cgo takes no pointer into memory that
// holds Go pointers.
func TestAMessageMayLieInAStructureOfGoPointers(t *testing.T) {
	a, b := connected(t)
	held := &struct {
		name *string
		m    datapath.SGArray
	}{name: new(string)}
	held.m = *mustAlloc(t, b.e, "hello")
	push, err := datapath.Push(b.qd, &held.m)
	require.NoError(t, err)
	pop, err := datapath.Pop(a.qd)
	require.NoError(t, err)
	var r datapath.Result
	require.NoError(t, datapath.Wait(push, &r, patience))
	require.NoError(t, r.Err())
	require.NoError(t, datapath.Wait(pop, &r, patience))
	held.m = r.SGA()
	require.Equal(t, "hello", string(held.m.Bytes()))
	require.NoError(t, datapath.SGAFree(&held.m))
	require.Empty(t, *held.name)
}

func TestEveryNameIsKnown(t *testing.T) {
	for k := datapath.NoticeBroken; k <= datapath.NoticeHousekeeper; k++ {
		assert.NotEqual(t, "unknown", k.String())
	}
	for o := datapath.OpInvalid; o <= datapath.OpFailed; o++ {
		assert.NotEqual(t, "unknown", o.String())
	}
	for s := datapath.QDFree; s <= datapath.QDClosing; s++ {
		assert.NotEqual(t, "unknown", s.String())
	}
	assert.Equal(t, "unknown", datapath.NoticeKind(99).String())
	assert.Equal(t, "unknown", datapath.Opcode(99).String())
	assert.Equal(t, "unknown", datapath.QDState(99).String())
}

func TestAMessageSaysWhereItCameFrom(t *testing.T) {
	a, b := connected(t)
	s, err := datapath.SGAAlloc(b.e, 5)
	require.NoError(t, err)
	copy(s.Bytes(), "hello")
	push, err := datapath.Push(b.qd, &s)
	require.NoError(t, err)
	require.NoError(t, datapath.SGAFree(&s))
	var r datapath.Result
	require.NoError(t, datapath.Wait(push, &r, patience))
	require.NoError(t, r.Err())
	for _, peer := range []string{"10.0.0.2:7174", "[fd00::2]:7174"} {
		require.NoError(t, a.conn.SetPeer(netip.MustParseAddrPort(peer)))
		pop, err := datapath.Pop(a.qd)
		require.NoError(t, err)
		if peer[0] == '[' { // a second message
			push, err = datapath.Push(b.qd, mustAlloc(t, b.e, "hello"))
			require.NoError(t, err)
			require.NoError(t, datapath.Wait(push, &r, patience))
		}
		require.NoError(t, datapath.Wait(pop, &r, patience))
		require.NoError(t, r.Err())
		got := r.SGA()
		require.Equal(t, "hello", string(got.Bytes()))
		addr := got.Addr()
		require.Equal(t, uint16(7174), binary.BigEndian.Uint16(addr[2:]))
		if peer[0] == '[' {
			require.Equal(t, uint16(syscall.AF_INET6), binary.NativeEndian.Uint16(addr[:]))
			require.Zero(t, binary.NativeEndian.Uint32(addr[4:]))
		} else {
			require.Equal(t, uint16(syscall.AF_INET), binary.NativeEndian.Uint16(addr[:]))
			require.Equal(t, []byte{10, 0, 0, 2}, addr[4:8])
		}
		require.NoError(t, datapath.SGAFree(&got))
	}
}

// mustAlloc allocates a message that is freed at the end of the test.
func mustAlloc(t *testing.T, e *datapath.Engine, text string) *datapath.SGArray {
	t.Helper()
	s, err := datapath.SGAAlloc(e, len(text))
	require.NoError(t, err)
	copy(s.Bytes(), text)
	t.Cleanup(func() { require.NoError(t, datapath.SGAFree(&s)) })
	return &s
}

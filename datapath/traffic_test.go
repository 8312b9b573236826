package datapath_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
)

// message is the n-th message of a stream: its length and bytes depend on both.
func message(stream, n, limit int) []byte {
	m := make([]byte, 1+(n*7919+stream*31)%limit)
	for i := range m {
		m[i] = byte(i*stream + n)
	}
	return m
}

func send(s *side, stream, count int) error {
	var r datapath.Result
	for n := range count {
		want := message(stream, n, 1008)
		sga, err := datapath.SGAAlloc(s.e, len(want))
		if err != nil {
			return err
		}
		copy(sga.Bytes(), want)
		qt, err := datapath.Push(s.qd, &sga)
		if err := errors.Join(err, datapath.SGAFree(&sga)); err != nil {
			return err
		}
		if err := datapath.Wait(qt, &r, patience); err != nil {
			return fmt.Errorf("push %d: %w", n, err)
		}
		if err := r.Err(); err != nil {
			return err
		}
	}
	return nil
}

func receive(s *side, stream, count int) error {
	var r datapath.Result
	for n := range count {
		qt, err := datapath.Pop(s.qd)
		if err != nil {
			return err
		}
		if err := datapath.Wait(qt, &r, patience); err != nil {
			return fmt.Errorf("pop %d: %w", n, err)
		}
		if err := r.Err(); err != nil {
			return err
		}
		sga := r.SGA()
		same := bytes.Equal(sga.Bytes(), message(stream, n, 1008))
		if err := datapath.SGAFree(&sga); err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("message %d is not what was sent", n)
		}
	}
	return nil
}

func TestFourGoroutinesShareTwoEngines(t *testing.T) {
	a, b := connected(t)
	const count = 2000
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i, f := range []func() error{
		func() error { return send(a, 1, count) },
		func() error { return receive(b, 1, count) },
		func() error { return send(b, 2, count) },
		func() error { return receive(a, 2, count) },
	} {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	sa, err := a.conn.Stats()
	require.NoError(t, err)
	sb, err := b.conn.Stats()
	require.NoError(t, err)
	require.EqualValues(t, count, sa.Pushes)
	require.EqualValues(t, count, sb.Pops)
	require.Equal(t, sa.BytesOut, sb.BytesIn)
	require.Zero(t, sa.RNREvents+sb.RNREvents)
}

// expectNotice moves both engines until a notice of a kind comes.
func expectNotice(t *testing.T, s, other *side, want datapath.NoticeKind) datapath.Notice {
	t.Helper()
	buf := make([]datapath.Notice, 1)
	for range 1000 {
		if s.e.Notices(buf) == 1 {
			if buf[0].Kind == want {
				require.EqualValues(t, 42, buf[0].Cookie)
				return buf[0]
			}
			continue
		}
		s.e.Poll()
		other.e.Poll()
	}
	require.FailNow(t, "no notice came", "%v", want)
	return datapath.Notice{}
}

func TestACloseIsReportedOnBothSides(t *testing.T) {
	a, b := connected(t)
	require.NoError(t, a.conn.Close(false))
	require.Zero(t, expectNotice(t, b, a, datapath.NoticePeerFin).Arg)
	expectNotice(t, a, b, datapath.NoticeDrained)
	pop, err := datapath.Pop(b.qd)
	require.NoError(t, err)
	var r datapath.Result
	require.NoError(t, datapath.Wait(pop, &r, patience))
	end := r.SGA()
	require.False(t, end.IsNull())
	require.Zero(t, end.Len())
	require.NoError(t, datapath.SGAFree(&end))
	require.NoError(t, a.conn.Close(true))
	require.EqualValues(t, 1, expectNotice(t, b, a, datapath.NoticePeerFin).Arg)
	push, err := datapath.Push(b.qd, mustAlloc(t, b.e, "late"))
	require.NoError(t, err)
	require.NoError(t, datapath.Wait(push, &r, patience))
	require.ErrorIs(t, r.Err(), syscall.EPIPE)
}

func TestAFailureIsReportedToTheOtherSideToo(t *testing.T) {
	a, b := connected(t)
	pop, err := datapath.Pop(a.qd)
	require.NoError(t, err)
	require.NoError(t, a.conn.Fail(syscall.ENODEV))
	expectNotice(t, a, b, datapath.NoticeFlushed)
	var r datapath.Result
	require.NoError(t, datapath.RedeemToken(pop, &r))
	require.ErrorIs(t, r.Err(), syscall.ENODEV)
	require.NoError(t, b.qp.SetError()) // what the connection manager does
	require.Equal(t, syscall.ECONNRESET, syscall.Errno(expectNotice(t, b, a, datapath.NoticeBroken).Arg))
}

func TestCancelledOperationsEnd(t *testing.T) {
	a, _ := connected(t)
	pop, err := datapath.Pop(a.qd)
	require.NoError(t, err)
	var pushes []datapath.Token
	for range 8 { // more than the window
		qt, err := datapath.Push(a.qd, mustAlloc(t, a.e, "a message"))
		require.NoError(t, err)
		pushes = append(pushes, qt)
	}
	require.NoError(t, a.conn.CancelPops())
	require.NoError(t, a.conn.CancelPushes())
	var r datapath.Result
	require.NoError(t, datapath.RedeemToken(pop, &r))
	require.ErrorIs(t, r.Err(), syscall.ECANCELED)
	for i, qt := range pushes {
		require.NoError(t, datapath.RedeemToken(qt, &r))
		if i < 4 {
			require.NoError(t, r.Err())
		} else {
			require.ErrorIs(t, r.Err(), syscall.ECANCELED)
		}
	}
}

func TestAnArmedEngineTellsOfTheNextCompletion(t *testing.T) {
	a, b := connected(t)
	for b.e.Arm() != nil {
		b.e.Poll()
	}
	before := b.e.Activity()
	poll := []unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = datapath.Push(a.qd, mustAlloc(t, a.e, "wake"))
	require.NoError(t, err)
	n, err = unix.Poll(poll, int(patience.Milliseconds()))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Positive(t, b.e.ChannelEvent())
	require.Equal(t, before, b.e.Activity())
	pop, err := datapath.Pop(b.qd)
	require.NoError(t, err)
	var r datapath.Result
	require.NoError(t, datapath.Wait(pop, &r, 0))
	require.NotEqual(t, before, b.e.Activity())
	sga := r.SGA()
	require.NoError(t, datapath.SGAFree(&sga))
}

func TestAConnectionIsRefusedWhatCannotWork(t *testing.T) {
	a, b := connected(t)
	require.ErrorIs(t, a.conn.Establish(a.qd, b.limits), syscall.EISCONN)
	require.ErrorIs(t, a.conn.Establish(a.qd, datapath.ConnLimits{}), syscall.EPROTO)
	require.ErrorIs(t, a.conn.Fail(0), syscall.EINVAL)
	require.ErrorIs(t, a.e.Destroy(), syscall.EBUSY)
}

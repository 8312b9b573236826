package cwire_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath/internal/cwire"
)

const ctrlWindow = cwire.CtrlWindowDefault

func newFlow(tb testing.TB, window uint32) *cwire.Flow {
	tb.Helper()
	f := &cwire.Flow{}
	require.NoError(tb, f.Init(window, ctrlWindow, window, ctrlWindow))
	return f
}

func TestWindowsOutsideTheirBoundsAreRefused(t *testing.T) {
	good := [4]uint32{4, 4, 4, 4}
	for i, bounds := range [4][2]uint32{
		{cwire.DataWindowMin, cwire.WindowMax},
		{cwire.CtrlWindowMin, cwire.WindowMax},
		{cwire.DataWindowMin, cwire.WindowMax},
		{cwire.CtrlWindowMin, cwire.WindowMax},
	} {
		for value, ok := range map[uint32]bool{
			0: false, bounds[0] - 1: false, bounds[0]: true, bounds[1]: true, bounds[1] + 1: false, 1 << 31: false,
		} {
			w := good
			w[i] = value
			err := new(cwire.Flow).Init(w[0], w[1], w[2], w[3])
			if ok {
				require.NoError(t, err, "%v", w)
			} else {
				require.ErrorIs(t, err, syscall.EPROTO, "%v", w)
			}
		}
	}
}

// The bounds that the model shows to be needed hold for every window.
func TestTheThresholdsAreWithinTheirBoundsForEveryWindow(t *testing.T) {
	for w := 1; w <= cwire.WindowMax; w++ {
		due, list := int(cwire.DataDueFor(uint16(w))), int(cwire.DataListFor(uint16(w)))
		require.GreaterOrEqual(t, due, (w+1)/2, "W=%d: half, rounded up", w)
		require.LessOrEqual(t, due, w, "W=%d: one-way traffic is never owed more", w)
		if list > 1 {
			require.Greater(t, due, list, "W=%d: ping-pong needs no CREDIT", w)
		}
		require.Less(t, due-1+list-1, w, "W=%d: what is owed or waits for a list leaves the peer a receive", w)
		if w < cwire.CtrlWindowMin {
			continue
		}
		due = int(cwire.CtrlDueFor(uint16(w)))
		require.Greater(t, due, 2, "C=%d: one-way traffic keeps two CREDITs on their way", w)
		require.Less(t, due, w, "C=%d: the peer may have one slot left", w)
	}
}

func TestACreditIsDueAtHalfTheWindow(t *testing.T) {
	for _, w := range []uint32{1, 2, 3, 4, 7, 64} {
		f := newFlow(t, w)
		for owed := uint32(1); owed <= w; owed++ {
			require.NoError(t, f.Receive(&cwire.Frame{Type: cwire.Data, Seq: f.SeqIn, Length: 1}))
			require.False(t, f.View(false).CreditDue && owed == 1, "nothing has been returned")
			f.ReturnData()
			want := owed >= max((w+1)/2, uint32(cwire.DataListFor(uint16(w)))+1)
			if w < 4 {
				want = 2*owed >= w
			}
			require.Equal(t, want, f.View(false).CreditDue, "W=%d owed=%d", w, owed)
		}
	}
}

func TestTheLastControlSlotIsForAFrameThatReturnsSome(t *testing.T) {
	f := newFlow(t, 4)
	for range ctrlWindow - 1 {
		require.True(t, f.View(false).MaySendCtrl)
		f.Send(cwire.Ping, 0, 0)
	}
	require.EqualValues(t, 1, f.CtrlCredit)
	require.False(t, f.View(false).MaySendCtrl)
	require.NoError(t, f.Receive(&cwire.Frame{Type: cwire.Credit, Seq: f.SeqIn}))
	f.ReturnCtrl()
	require.True(t, f.View(false).MaySendCtrl, "it returns the CREDIT's receive")
	f.Send(cwire.Ping, 0, 0)
	require.False(t, f.View(false).MaySendCtrl)
}

func TestAGrownWindowIsToldByACreditAndUsed(t *testing.T) {
	a, b := newFlow(t, 2), newFlow(t, 2)
	require.NoError(t, a.Add(3))
	require.True(t, a.View(false).CreditDue)
	h := a.Send(cwire.Credit, 0, 0)
	require.EqualValues(t, 3, h.Arg)
	require.False(t, a.View(false).CreditDue)
	require.NoError(t, b.Receive(&h))
	require.EqualValues(t, 5, b.DataCredit)
	for range 5 {
		d := b.Send(cwire.Data, 1, 0)
		require.NoError(t, a.Receive(&d))
	}
	require.False(t, b.View(true).MaySendData)
	require.ErrorIs(t, a.Add(cwire.WindowMax), syscall.EINVAL)
	require.EqualValues(t, 5, a.DataWindow, "a refused growth changes nothing")
}

func TestADoubledWindowIsToldByTheNextMessage(t *testing.T) {
	a, b := newFlow(t, 4), newFlow(t, 4)
	require.NoError(t, a.Add(3))
	require.False(t, a.TellLater(), "it has not doubled")
	require.NoError(t, a.Add(1))
	require.True(t, a.View(false).CreditDue)
	require.True(t, a.TellLater())
	require.False(t, a.View(false).CreditDue)
	h := a.Send(cwire.Data, 1, 0)
	require.EqualValues(t, cwire.FlagDoubled, h.Flags)
	require.False(t, a.View(false).CreditDue)
	require.NoError(t, b.Receive(&h))
	require.EqualValues(t, 8, b.DataCredit)
	require.EqualValues(t, 4, b.PeerAdded)
	require.Zero(t, a.Send(cwire.Data, 1, 0).Flags, "it is said once")
	for range 8 {
		d := b.Send(cwire.Data, 1, 0)
		require.NoError(t, a.Receive(&d))
	}
	require.False(t, b.View(true).MaySendData)
}

func TestAWindowThatDoublesBeyondItsBoundIsRefused(t *testing.T) {
	f := newFlow(t, cwire.WindowMax/2)
	require.NoError(t, f.Receive(&cwire.Frame{Type: cwire.Data, Flags: cwire.FlagDoubled, Length: 1}))
	require.EqualValues(t, cwire.WindowMax, f.DataCredit)
	require.ErrorIs(t, f.Receive(&cwire.Frame{Type: cwire.Data, Flags: cwire.FlagDoubled, Seq: 1, Length: 1}), syscall.EPROTO)
}

func TestADoubledWindowIsToldByACreditIfThatGoesFirst(t *testing.T) {
	for name, urge := range map[string]func(f *cwire.Flow){
		"the peer waits":             (*cwire.Flow).TellNow,
		"the window grows once more": func(f *cwire.Flow) { require.NoError(t, f.Add(1)) },
		"there is another reason":    func(f *cwire.Flow) {},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newFlow(t, 2), newFlow(t, 2)
			require.NoError(t, a.Add(2))
			require.True(t, a.TellLater())
			urge(a)
			h := a.Send(cwire.Credit, 0, 0)
			require.NoError(t, b.Receive(&h))
			require.Equal(t, int16(a.DataWindow), b.DataCredit)
			require.False(t, a.View(false).CreditDue)
			require.Zero(t, a.Send(cwire.Data, 1, 0).Flags, "it has been said")
		})
	}
}

// Each case is a frame that no honest peer sends in that state; the flow before it is fine.
func TestAPeerThatBreaksTheRulesIsRefused(t *testing.T) {
	full := func(typ cwire.Type) cwire.Frame { return cwire.Frame{Type: typ, Flags: cwire.FlagFull} }
	for name, tc := range map[string]struct {
		before func(f *cwire.Flow)
		bad    cwire.Frame
	}{
		"out of sequence":     {nil, cwire.Frame{Type: cwire.Data, Length: 1, Seq: 1}},
		"a frame repeated":    {receive(cwire.Frame{Type: cwire.Ping}), cwire.Frame{Type: cwire.Ping, Seq: 0xFFFF}},
		"more data returned":  {send(cwire.Data), cwire.Frame{Type: cwire.Data, Length: 1, DataReturned: 2}},
		"a count that falls":  {nil, cwire.Frame{Type: cwire.Data, Length: 1, DataReturned: 0xFFFF}},
		"more control back":   {send(cwire.Ping), cwire.Frame{Type: cwire.Data, Length: 1, CtrlReturned: 2}},
		"data without credit": {receive(data, data), data},
		"control without slot": {
			receive(full(cwire.Fin), credit, credit, credit), cwire.Frame{Type: cwire.Credit},
		},
		"data after FIN":          {receive(cwire.Frame{Type: cwire.Fin}), data},
		"RTS after FIN":           {receive(cwire.Frame{Type: cwire.Fin}), cwire.Frame{Type: cwire.RTS, Length: 24}},
		"FIN twice":               {receive(cwire.Frame{Type: cwire.Fin}), cwire.Frame{Type: cwire.Fin}},
		"half FIN after full":     {receive(full(cwire.Fin)), cwire.Frame{Type: cwire.Fin}},
		"FIN_ACK of nothing":      {nil, cwire.Frame{Type: cwire.FinAck}},
		"FIN_ACK of more":         {closeAndSend(cwire.Half), full(cwire.FinAck)},
		"FIN_ACK twice":           {closeAndHear(cwire.Full), full(cwire.FinAck)},
		"data after full FIN_ACK": {closeAndHear(cwire.Full), data},
		"PING before its PONG":    {receive(cwire.Frame{Type: cwire.Ping}), cwire.Frame{Type: cwire.Ping}},
		"PONG without PING":       {nil, cwire.Frame{Type: cwire.Pong}},
		"PONG of another PING":    {send(cwire.Ping), cwire.Frame{Type: cwire.Pong, Arg: 1}},
		"DONE without RTS":        {nil, cwire.Frame{Type: cwire.Done}},
		"DONE of an RTS to come":  {send(cwire.RTS), cwire.Frame{Type: cwire.Done, Arg: 1}},
		"RESET without RTS":       {nil, cwire.Frame{Type: cwire.Reset}},
		"RTS out of number":       {nil, cwire.Frame{Type: cwire.RTS, Length: 24, Arg: 1}},
		"a window that shrinks": {
			receive(cwire.Frame{Type: cwire.Credit, Arg: 2}), cwire.Frame{Type: cwire.Credit, Arg: 1},
		},
		"a window beyond bounds": {nil, cwire.Frame{Type: cwire.Credit, Arg: cwire.WindowMax}},
		"a window beyond 32 bits": {
			receive(cwire.Frame{Type: cwire.Credit, Arg: 2}), cwire.Frame{Type: cwire.Credit, Arg: 1<<32 - 1},
		},
		"a type that does not exist": {nil, cwire.Frame{Type: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlow(t, 2)
			if tc.before != nil {
				tc.before(f)
			}
			tc.bad.Seq += f.SeqIn
			require.ErrorIs(t, f.Receive(&tc.bad), syscall.EPROTO)
		})
	}
}

var (
	data   = cwire.Frame{Type: cwire.Data, Length: 1}
	credit = cwire.Frame{Type: cwire.Credit}
)

func receive(frames ...cwire.Frame) func(*cwire.Flow) {
	return func(f *cwire.Flow) {
		for _, h := range frames {
			h.Seq += f.SeqIn
			if err := f.Receive(&h); err != nil {
				panic(err)
			}
		}
	}
}

func send(t cwire.Type) func(*cwire.Flow) {
	return func(f *cwire.Flow) { f.Send(t, 1, 0) }
}

func closeAndSend(level cwire.Level) func(*cwire.Flow) {
	return func(f *cwire.Flow) {
		f.Close(level)
		f.Send(cwire.Fin, 0, 0)
	}
}

func closeAndHear(level cwire.Level) func(*cwire.Flow) {
	return func(f *cwire.Flow) {
		closeAndSend(level)(f)
		ack := cwire.Frame{Type: cwire.FinAck}
		if level == cwire.Full {
			ack.Flags = cwire.FlagFull
		}
		receive(ack)(f)
	}
}

func TestFramesOfAnHonestPeerCarryWhatTheirTypeSays(t *testing.T) {
	a, b := newFlow(t, 4), newFlow(t, 4)
	exchange := func(from, to *cwire.Flow, typ cwire.Type, arg uint32) cwire.Frame {
		h := from.Send(typ, 0, arg)
		require.NoError(t, to.Receive(&h))
		if !typ.IsData() {
			to.ReturnCtrl()
		}
		return h
	}
	require.EqualValues(t, 0, exchange(a, b, cwire.RTS, 99).Arg, "RTS are numbered by the flow")
	require.EqualValues(t, 1, exchange(a, b, cwire.RTS, 99).Arg)
	require.EqualValues(t, 0, exchange(b, a, cwire.Done, 0).Arg)
	require.EqualValues(t, 1, exchange(b, a, cwire.Reset, 1).Arg)
	require.Zero(t, a.RTSOpen)
	require.EqualValues(t, 77, exchange(a, b, cwire.Ping, 77).Arg)
	require.Equal(t, cwire.Pong, b.View(false).NextCtrl)
	require.EqualValues(t, 77, exchange(b, a, cwire.Pong, 0).Arg)

	a.Close(cwire.Half)
	require.Zero(t, a.View(true).NextCtrl, "pushes are waiting")
	require.Equal(t, cwire.Fin, a.View(false).NextCtrl)
	require.Zero(t, exchange(a, b, cwire.Fin, 0).Flags)
	require.False(t, a.View(false).MayPush)
	require.True(t, b.View(false).MayPush, "the peer still reads")
	require.Equal(t, cwire.FinAck, b.View(false).NextCtrl)
	require.Zero(t, exchange(b, a, cwire.FinAck, 0).Flags)
	require.True(t, a.View(false).Drained)
	require.False(t, a.View(false).Orderly, "the other direction is open")

	a.Close(cwire.Full)
	require.False(t, a.View(false).Drained)
	require.EqualValues(t, cwire.FlagFull, exchange(a, b, cwire.Fin, 0).Flags)
	require.False(t, b.View(false).MayPush, "nobody reads")
	require.EqualValues(t, cwire.FlagFull, exchange(b, a, cwire.FinAck, 0).Flags)
	require.True(t, a.View(false).Drained)
	require.True(t, a.View(false).Orderly)
	require.True(t, b.View(false).Orderly)
	a.Close(cwire.Half)
	require.Equal(t, cwire.Full, a.FinWant, "a close is never taken back")
}

// A peer may send anything: counts stay within the windows whatever is accepted.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 5, 1, 0, 0, 0})
	f.Add([]byte{9, 0, 0, 0, 0, 3, 0, 0, 0, 0, 4, 0, 1, 0, 0, 7, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		flow := newFlow(t, 3)
		for ; len(script) >= 5; script = script[5:] {
			typ, view := cwire.Type(script[0]&15), flow.View(false)
			if script[0]&16 != 0 { // a frame of ours
				answer := typ == cwire.Done || typ == cwire.Reset
				if answer && flow.RTSOwed == 0 {
					continue
				}
				if (typ.IsData() && view.MaySendData) || (!typ.IsData() && typ <= cwire.TypeLast && view.MaySendCtrl) {
					flow.Send(typ, 1, uint32(script[1]))
				}
				continue
			}
			h := cwire.Frame{
				Type: typ, Flags: script[1] & cwire.FlagFull, Seq: flow.SeqIn, Arg: uint32(script[4]),
				DataReturned: flow.DataAcked + uint16(script[2]), CtrlReturned: flow.CtrlAcked + uint16(script[3]),
			}
			if flow.Receive(&h) != nil {
				return
			}
			if !typ.IsData() {
				flow.ReturnCtrl()
			} else if script[1]&2 != 0 {
				flow.ReturnData()
			}
			require.GreaterOrEqual(t, flow.DataCredit, int16(0))
			require.LessOrEqual(t, flow.DataCredit, int16(flow.PeerDataWindow))
			require.GreaterOrEqual(t, flow.CtrlCredit, int16(0))
			require.LessOrEqual(t, flow.CtrlCredit, int16(flow.PeerCtrlWindow))
			require.LessOrEqual(t, flow.PeerDataWindow, uint16(cwire.WindowMax))
			require.LessOrEqual(t, flow.DataIn()-flow.DataReturned, flow.DataWindow, "no more messages than receives")
			require.LessOrEqual(t, flow.RTSOwed, uint32(flow.DataIn()), "no more answers than questions")
		}
	})
}

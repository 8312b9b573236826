package cwire_test

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath/internal/cwire"
)

var limits = cwire.Limits{RecvSize: 256, MaxMessage: 1 << 20}

// received is a frame as it arrives: the header and length bytes of payload.
func received(f cwire.Frame) []byte {
	var h [cwire.HeaderSize]byte
	f.Encode(&h)
	return append(h[:], make([]byte, f.Length)...)
}

func TestTheHeaderIsSixteenLittleEndianBytes(t *testing.T) {
	f := cwire.Frame{
		Type: cwire.Fin, Flags: cwire.FlagFull, DataReturned: 0x0102, CtrlReturned: 0x0304,
		Seq: 0x0506, Length: 0x0708090A, Arg: 0x0B0C0D0E,
	}
	var h [cwire.HeaderSize]byte
	f.Encode(&h)
	require.Equal(t, [...]byte{
		5, 1, 0x02, 0x01, 0x04, 0x03, 0x06, 0x05, 0x0A, 0x09, 0x08, 0x07, 0x0E, 0x0D, 0x0C, 0x0B,
	}, h)
}

func TestTheTypesHaveTheirNumbersForEver(t *testing.T) {
	for number, typ := range map[uint8]cwire.Type{
		1: cwire.Data, 2: cwire.Credit, 3: cwire.RTS, 4: cwire.Done, 5: cwire.Fin,
		6: cwire.FinAck, 7: cwire.Ping, 8: cwire.Pong, 9: cwire.Reset,
	} {
		require.EqualValues(t, number, typ)
		require.NotEqual(t, "type?", typ.String())
	}
	require.EqualValues(t, 9, cwire.TypeLast)
	require.Equal(t, "type?", cwire.Type(0).String())
	require.Equal(t, "type?", cwire.Type(10).String())
}

// allowed is what docs/protocol.md says of each type.
var allowed = map[cwire.Type]struct {
	minLength, maxLength uint32
	flags                uint8
	arg                  bool
}{
	cwire.Data:   {1, limits.RecvSize - cwire.HeaderSize, cwire.FlagWaited | cwire.FlagDoubled, false},
	cwire.Credit: {0, 0, 0, true},
	cwire.RTS:    {cwire.RTSSize, cwire.RTSSize, cwire.FlagWaited | cwire.FlagDoubled, true},
	cwire.Done:   {0, 0, 0, true},
	cwire.Fin:    {0, 0, cwire.FlagFull, false},
	cwire.FinAck: {0, 0, cwire.FlagFull, false},
	cwire.Ping:   {0, 0, 0, true},
	cwire.Pong:   {0, 0, 0, true},
	cwire.Reset:  {0, 0, 0, true},
}

func TestAFrameIsTakenExactlyWhenItsTypeAllowsIt(t *testing.T) {
	for typ := range 256 {
		rule, known := allowed[cwire.Type(typ)]
		for _, flags := range []uint8{0, 1, 2, 3, 4, 0x80, 0xFF} {
			for _, length := range []uint32{0, 1, 23, 24, 25, 240, 241} {
				for _, arg := range []uint32{0, 1, 1 << 31} {
					f := cwire.Frame{
						Type: cwire.Type(typ), Flags: flags, DataReturned: 7, CtrlReturned: 8, Seq: 9,
						Length: length, Arg: arg,
					}
					good := known && flags&^rule.flags == 0 && length >= rule.minLength &&
						length <= rule.maxLength && (rule.arg || arg == 0)
					got, err := cwire.Parse(received(f), limits)
					if (err == nil) != good {
						t.Fatalf("%+v: %v", f, err)
					}
					if err != nil {
						require.ErrorIs(t, err, syscall.EPROTO)
					} else {
						require.Equal(t, f, got)
					}
				}
			}
		}
	}
}

func TestAFrameOfAnotherLengthThanItSaysIsRefused(t *testing.T) {
	whole := received(cwire.Frame{Type: cwire.Data, Length: 100})
	_, err := cwire.Parse(whole, limits)
	require.NoError(t, err)
	for n := range whole {
		_, err := cwire.Parse(whole[:n], limits)
		require.ErrorIs(t, err, syscall.EPROTO, "%d of %d bytes", n, len(whole))
	}
	_, err = cwire.Parse(append(whole, 0), limits)
	require.ErrorIs(t, err, syscall.EPROTO)
	_, err = cwire.Parse(received(cwire.Frame{Type: cwire.Data, Length: 1 << 20}), limits)
	require.ErrorIs(t, err, syscall.EPROTO, "larger than a receive")
	binary.LittleEndian.PutUint32(whole[8:], 0xFFFFFFF0) // with the header: 2^32
	_, err = cwire.Parse(whole, limits)
	require.ErrorIs(t, err, syscall.EPROTO)
}

func TestAnRTSThatCannotBeTrueIsRefused(t *testing.T) {
	good := cwire.RTSBody{Addr: 0x7F00_0000_1000, Length: 1 << 20, RKey: 0xABCD}
	parse := func(b cwire.RTSBody, padding byte) error {
		var raw [cwire.RTSSize]byte
		b.Encode(&raw)
		raw[cwire.RTSSize-1] |= padding
		got, err := cwire.ParseRTS(&raw, limits)
		if err == nil {
			require.Equal(t, b, got)
		} else {
			require.ErrorIs(t, err, syscall.EPROTO)
		}
		return err
	}
	require.NoError(t, parse(good, 0))
	require.NoError(t, parse(cwire.RTSBody{Addr: ^uint64(0) - 1, Length: 1}, 0))
	require.Error(t, parse(good, 1), "padding")
	require.Error(t, parse(cwire.RTSBody{Addr: good.Addr}, 0), "no bytes")
	require.Error(t, parse(cwire.RTSBody{Addr: good.Addr, Length: 1<<20 + 1}, 0), "larger than was announced")
	require.Error(t, parse(cwire.RTSBody{Addr: ^uint64(0) - 9, Length: 10}, 0), "wraps round")
}

func FuzzParse(f *testing.F) {
	for typ := cwire.Data; typ <= cwire.TypeLast; typ++ {
		f.Add(received(cwire.Frame{Type: typ, Length: allowed[typ].minLength, Seq: 1}))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := cwire.Parse(in, limits)
		if err != nil {
			require.ErrorIs(t, err, syscall.EPROTO)
			return
		}
		rule := allowed[h.Type]
		require.LessOrEqual(t, h.Length, rule.maxLength)
		require.GreaterOrEqual(t, h.Length, rule.minLength)
		require.Len(t, in, int(h.Length)+cwire.HeaderSize)
		var again [cwire.HeaderSize]byte
		h.Encode(&again)
		require.Equal(t, in[:cwire.HeaderSize], again[:], "a header has one form")
		if h.Type == cwire.RTS {
			body, err := cwire.ParseRTS((*[cwire.RTSSize]byte)(in[cwire.HeaderSize:]), limits)
			if err == nil {
				require.LessOrEqual(t, body.Length, limits.MaxMessage)
				require.Greater(t, body.Addr+body.Length, body.Addr)
			}
		}
	})
}

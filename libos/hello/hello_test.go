package hello

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func offer() Hello {
	return Hello{
		Kind: Offer, MinVersion: MinVersion, MaxVersion: MaxVersion,
		RecvSize: 8192, DataWindow: 6, CtrlWindow: 4, MaxMessage: 8176, Nonce: 0x0102030405060708,
	}
}

func TestAnOfferHasTheDocumentedBytes(t *testing.T) {
	require.Equal(t, []byte{
		'C', 'T', 'M', 'T', 40, 1, 1, 1,
		0, 0, 0, 0, 0, 0x20, 0, 0,
		6, 0, 0, 0, 4, 0, 0, 0,
		0xf0, 0x1f, 0, 0, 0, 0, 0, 0,
		8, 7, 6, 5, 4, 3, 2, 1,
	}, offer().Marshal())
}

func TestAHelloFitsIntoARequest(t *testing.T) {
	require.LessOrEqual(t, len(offer().Marshal()), MaxSize)
}

func TestAHelloSurvivesThePaddingOfTheTransport(t *testing.T) {
	padded := append(offer().Marshal(), make([]byte, 16)...)
	h, err := Parse(padded, Offer)
	require.NoError(t, err)
	require.Equal(t, offer(), h)
}

func TestALongerHelloOfALaterMinorFormIsRead(t *testing.T) {
	b := append(offer().Marshal(), 1, 2, 3, 4, 5, 6, 7, 8)
	b[4] = 48
	h, err := Parse(b, Offer)
	require.NoError(t, err)
	require.Equal(t, offer(), h)
}

func TestBadHellosAreRefusedWithTheirReason(t *testing.T) {
	edit := func(f func(b []byte)) []byte {
		b := offer().Marshal()
		f(b)
		return b
	}
	for _, tc := range []struct {
		name   string
		in     []byte
		err    error
		reason Reason
	}{
		{"no private data at all", nil, ErrForeign, ReasonForeign},
		{"zeros only", make([]byte, 56), ErrForeign, ReasonForeign},
		{"another protocol", []byte("GET / HTTP/1.1\r\n"), ErrForeign, ReasonForeign},
		{"the magic and nothing else", []byte("CTMT"), ErrShort, ReasonMalformed},
		{"a length beyond the end", edit(func(b []byte) { b[4] = 41 }), ErrShort, ReasonMalformed},
		{"a length below the fields", edit(func(b []byte) { b[4] = 39 }), ErrShort, ReasonMalformed},
		{"an answer for an offer", edit(func(b []byte) { b[5] = 2 }), ErrKind, ReasonMalformed},
		{"only later versions", edit(func(b []byte) { b[6], b[7] = 2, 9 }), ErrVersion, ReasonVersion},
		{"only earlier versions", edit(func(b []byte) { b[6], b[7] = 0, 0 }), ErrVersion, ReasonVersion},
		{"a version range upside down", edit(func(b []byte) { b[6], b[7] = 1, 0 }), ErrVersion, ReasonVersion},
		{"a demand nobody knows", edit(func(b []byte) { b[11] = 0x80 }), ErrDemands, ReasonDemands},
		{"receives too small for a frame", edit(func(b []byte) { b[12], b[13] = 8, 0 }), ErrLimits, ReasonMalformed},
		{"no receives for data", edit(func(b []byte) { b[16] = 0 }), ErrLimits, ReasonMalformed},
		{"too few receives for control", edit(func(b []byte) { b[20] = 3 }), ErrLimits, ReasonMalformed},
		{"a window beyond reason", edit(func(b []byte) { b[16], b[17] = 1, 0x40 }), ErrLimits, ReasonMalformed},
		{"a control window beyond reason", edit(func(b []byte) { b[21] = 0x40 }), ErrLimits, ReasonMalformed},
		{"messages of no size", edit(func(b []byte) { b[24], b[25] = 0, 0 }), ErrLimits, ReasonMalformed},
		{"messages beyond reason", edit(func(b []byte) { b[31] = 1 }), ErrLimits, ReasonMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(tc.in, Offer)
			require.ErrorIs(t, err, tc.err)
			require.ErrorIs(t, err, syscall.EPROTO)
			require.Equal(t, tc.reason, RejectFor(err).Reason)
			require.Equal(t, syscall.EPROTO, RejectFor(err).Reason.Errno())
		})
	}
}

func TestAnOfferedFeatureThatIsNotKnownIsNotConfirmed(t *testing.T) {
	o := offer()
	o.Features = 0x00ff
	h, err := Parse(o.Marshal(), Offer)
	require.NoError(t, err)
	require.Equal(t, Known&0xff, h.Reply(Hello{Features: 0xff}).Features)
}

func TestAnAnswerAgreesWithItsOffer(t *testing.T) {
	o := offer()
	mine := Hello{RecvSize: 4096, DataWindow: 3, CtrlWindow: 4, MaxMessage: 4080}
	a, err := Parse(o.Reply(mine).Marshal(), Answer)
	require.NoError(t, err)
	require.NoError(t, a.CheckAnswer(o))
	require.Equal(t, uint32(4096), a.RecvSize)
	require.EqualValues(t, MaxVersion, a.MaxVersion)

	wrong := a
	wrong.Nonce++
	require.ErrorIs(t, wrong.CheckAnswer(o), ErrNonce)
	wrong = a
	wrong.MaxVersion++
	require.ErrorIs(t, wrong.CheckAnswer(o), ErrVersion)
	wrong = a
	wrong.Features = 1
	require.ErrorIs(t, wrong.CheckAnswer(o), ErrPretends)
}

func TestARejectCarriesItsReason(t *testing.T) {
	for r := ReasonFull; r <= ReasonProbed; r++ {
		padded := append(RejectError{Reason: r, Detail: 7}.Marshal(), make([]byte, 132)...)
		got, err := ParseReject(padded)
		require.NoError(t, err)
		require.Equal(t, RejectError{Reason: r, Detail: 7}, got)
		require.NotContains(t, got.Error(), "Reason(")
		require.ErrorIs(t, got, r.Errno())
	}
	require.Equal(t, syscall.ECONNREFUSED, Reason(99).Errno())
	require.Equal(t, "Reason(99)", Reason(99).String())
}

func TestAProbeIsRefusedByItsOwnReason(t *testing.T) {
	_, err := Parse(append(MarshalProbe(), make([]byte, 48)...), Offer)
	require.ErrorIs(t, err, ErrProbe)
	require.Equal(t, ReasonProbed, RejectFor(err).Reason)
	require.ErrorIs(t, RejectFor(err), syscall.EPROTOTYPE)
}

func TestARejectOfSomebodyElseIsRecognised(t *testing.T) {
	_, err := ParseReject(make([]byte, 148))
	require.ErrorIs(t, err, ErrForeign)
	_, err = ParseReject(offer().Marshal())
	require.ErrorIs(t, err, ErrKind)
	_, err = ParseReject(RejectError{Reason: ReasonFull}.Marshal()[:12])
	require.ErrorIs(t, err, ErrShort)
}

func FuzzParse(f *testing.F) {
	f.Add(offer().Marshal())
	f.Add(offer().Reply(offer()).Marshal())
	f.Add(RejectError{Reason: ReasonFull}.Marshal())
	f.Add([]byte("CTMT\x28\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []Kind{Offer, Answer} {
			h, err := Parse(b, k)
			if err != nil {
				require.ErrorIs(t, err, syscall.EPROTO)
				continue
			}
			// What was accepted means the same when written again.
			again, err := Parse(h.Marshal(), k)
			require.NoError(t, err)
			require.Equal(t, h, again)
		}
		if r, err := ParseReject(b); err == nil {
			again, err := ParseReject(r.Marshal())
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
	})
}

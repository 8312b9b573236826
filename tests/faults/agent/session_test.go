package main

import (
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// receiver is a session that acknowledges nothing, being about to close.
func receiver() *session { return &session{closing: true} }

func TestMessagesAreTakenInOrderAndIntact(t *testing.T) {
	s := receiver()
	var sum uint32
	for seq := range uint64(2 * everyNth) {
		b := message(seq)
		sum = crc32.Update(sum, crc32.IEEETable, b)
		require.NoError(t, s.check(b))
	}
	assert.EqualValues(t, 2*everyNth, s.received)
	assert.Equal(t, sum, s.sumIn)

	require.ErrorContains(t, s.check(message(s.received+1)), "was next", "one was lost")
	require.ErrorContains(t, s.check(message(s.received-1)), "was next", "one came twice")
	b := message(s.received)
	b[len(b)-1] ^= 1
	require.ErrorContains(t, s.check(b), "not what was sent")
	b = message(s.received)
	require.ErrorContains(t, s.check(b[:len(b)-1]), "not what was sent")
	require.Error(t, s.check(b[:header-1]))
	b[0] = 9
	require.ErrorContains(t, s.check(b), "of type 9")
}

func TestAnAcknowledgementProvesWhatWasReceived(t *testing.T) {
	s := &session{sent: 2, unacked: []uint32{11, 22}}
	require.ErrorContains(t, s.check(acknowledgement(1, 22)), "was next", "the first was skipped")
	require.ErrorContains(t, s.check(acknowledgement(0, 12)), "checksum")
	require.NoError(t, s.check(acknowledgement(0, 11)))
	require.NoError(t, s.check(acknowledgement(1, 22)))
	assert.EqualValues(t, 2, s.acked)
	require.ErrorContains(t, s.check(acknowledgement(2, 0)), "came when", "of nothing")
}

func TestOneMessageInElevenIsLarge(t *testing.T) {
	n := 0
	for seq := range uint64(everyNth * 5) {
		size := sizeOf(seq)
		require.True(t, size == large || size >= smallest && size < 8000, "%d bytes", size)
		require.Len(t, message(seq), size)
		if size == large {
			n++
		}
	}
	assert.Equal(t, 5, n)
}

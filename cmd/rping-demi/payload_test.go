package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPayloadIsRpings(t *testing.T) {
	for _, tc := range []struct {
		seq, size int
		want      string
	}{
		{0, 16, "rdma-ping-0: AB\x00"},
		{1, 16, "rdma-ping-1: BC\x00"},
		{57, 18, "rdma-ping-57: zAB\x00"},
		{58, 18, "rdma-ping-58: ABC\x00"},
		{0, 1, "\x00"},
		{0, 5, "rdma\x00"},
	} {
		buf := make([]byte, tc.size)
		fillPayload(buf, tc.seq)
		assert.Equal(t, tc.want, string(buf))
	}
	fillPayload(nil, 3)
}

func TestPayloadIsShownUpToItsNUL(t *testing.T) {
	assert.Equal(t, "ab", string(shown([]byte("ab\x00cd"))))
	assert.Equal(t, "abcd", string(shown([]byte("abcd"))))
	assert.Empty(t, shown(nil))
}

func TestComparisonNamesTheFirstDifference(t *testing.T) {
	require.NoError(t, comparePayload([]byte("abc"), []byte("abc")))
	require.EqualError(t, comparePayload([]byte("abc"), []byte("abd")),
		"data mismatch: byte 2 was sent as 0x63 and came back as 0x64")
	require.EqualError(t, comparePayload([]byte("abc"), []byte("ab")),
		"data mismatch: 3 bytes were sent and 2 came back")
}

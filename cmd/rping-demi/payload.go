package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// The rolling run of characters that follows a payload's prefix.
const (
	firstChar = 65
	lastChar  = 122
)

// fillPayload writes the payload of ping number seq into buf, as rping does: a prefix
// with the number, then characters 65 to 122 over and over, beginning one further with
// each ping, and a NUL in the last byte. A buffer shorter than the prefix takes what
// fits of it.
func fillPayload(buf []byte, seq int) {
	if len(buf) == 0 {
		return
	}
	var scratch [32]byte
	prefix := append(scratch[:0], "rdma-ping-"...)
	prefix = strconv.AppendInt(prefix, int64(seq), 10)
	prefix = append(prefix, ": "...)

	n := copy(buf, prefix)
	const run = lastChar - firstChar + 1
	c := seq % run
	for i := n; i < len(buf)-1; i++ {
		buf[i] = byte(firstChar + c)
		if c++; c == run {
			c = 0
		}
	}
	buf[len(buf)-1] = 0
}

// shown is a payload without what follows its first NUL.
func shown(p []byte) []byte {
	if i := bytes.IndexByte(p, 0); i >= 0 {
		return p[:i]
	}
	return p
}

// comparePayload says where got differs from want, nil if nowhere.
func comparePayload(want, got []byte) error {
	if bytes.Equal(want, got) {
		return nil
	}
	if len(want) != len(got) {
		return fmt.Errorf("data mismatch: %d bytes were sent and %d came back", len(want), len(got))
	}
	i := 0
	for want[i] == got[i] {
		i++
	}
	return fmt.Errorf("data mismatch: byte %d was sent as %#02x and came back as %#02x", i, want[i], got[i])
}

package rping

import (
	"encoding/binary"
	"fmt"
)

// advertSize is the size in bytes of every message, a go-ahead included.
const advertSize = 16

// Advert says where a buffer is:
//
//	offset  size  big-endian
//	     0     8  address
//	     8     4  key for remote access
//	    12     4  size in bytes
//
// A go-ahead is as long, and its content means nothing.
type Advert struct {
	Addr uint64
	RKey uint32
	Size uint32
}

func (a Advert) put(b []byte) {
	binary.BigEndian.PutUint64(b, a.Addr)
	binary.BigEndian.PutUint32(b[8:], a.RKey)
	binary.BigEndian.PutUint32(b[12:], a.Size)
}

func parseAdvert(b []byte) (Advert, error) {
	if len(b) != advertSize {
		return Advert{}, fmt.Errorf("%w: a message of %d bytes came where rping's have %d", ErrProtocol, len(b), advertSize)
	}
	return Advert{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}, nil
}

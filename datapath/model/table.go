package model

import "hash/maphash"

// table is a set of byte strings, numbered in the order of their insertion: open
// addressing over one arena. It holds tens of millions in little more than their bytes.
type table struct {
	seed  maphash.Seed
	slots []uint32 // number + 1; 0: free
	ends  []uint64 // of key n in arena
	arena []byte
}

func newTable() *table {
	return &table{seed: maphash.MakeSeed(), slots: make([]uint32, 1<<12)}
}

func (t *table) len() int { return len(t.ends) }

func (t *table) key(n int) []byte {
	var begin uint64
	if n > 0 {
		begin = t.ends[n-1]
	}
	return t.arena[begin:t.ends[n]:t.ends[n]]
}

// add returns the key's number, and whether it is new.
func (t *table) add(key []byte) (int, bool) {
	mask := uint64(len(t.slots) - 1)
	at := maphash.Bytes(t.seed, key) & mask
	for ; t.slots[at] != 0; at = (at + 1) & mask {
		if n := int(t.slots[at] - 1); string(t.key(n)) == string(key) {
			return n, false
		}
	}
	t.arena = append(t.arena, key...)
	t.ends = append(t.ends, uint64(len(t.arena)))
	t.slots[at] = uint32(len(t.ends))
	if len(t.ends)*3 > len(t.slots)*2 {
		t.grow()
	}
	return len(t.ends) - 1, true
}

func (t *table) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for n := range t.ends {
		at := maphash.Bytes(t.seed, t.key(n)) & mask
		for t.slots[at] != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = uint32(n + 1)
	}
}

package qtoken

import "fmt"

// The widths of a token's parts, in bits; as in qtoken.h.
const (
	IndexBits      = 20
	GenerationBits = 34
	EngineBits     = 10
)

// The greatest values of a token's parts. Generations start at 1.
const (
	MaxIndex      = 1<<IndexBits - 1
	MaxGeneration = 1<<GenerationBits - 1
	// MaxEngine is one less than would fit, so that no token has all bits set.
	MaxEngine = 1<<EngineBits - 2
)

// Token is a queue token (demi_qtoken_t): it names one operation of one engine, from the
// call that starts the operation until somebody redeems its result. A token is redeemed
// once, and its value is never given out again in the life of its engine.
//
// From the most significant bit, a token is the engine's number, the generation of the
// slot and the slot's index in the engine's table.
type Token uint64

// Make returns the token with the given parts; each is cut to its width.
func Make(engine uint32, generation uint64, index uint32) Token {
	return Token(uint64(engine&(1<<EngineBits-1))<<(IndexBits+GenerationBits) |
		(generation&MaxGeneration)<<IndexBits |
		uint64(index&MaxIndex))
}

// Engine returns the number of the engine that the token belongs to.
func (t Token) Engine() uint32 { return uint32(t >> (IndexBits + GenerationBits)) }

// Generation returns how many operations the slot has seen, this one included.
func (t Token) Generation() uint64 { return uint64(t>>IndexBits) & MaxGeneration }

// Index returns the slot's place in the engine's table.
func (t Token) Index() uint32 { return uint32(t) & MaxIndex }

// Valid reports whether t could be a token at all: 0 and the value with all bits set
// never are. Only its engine knows whether the token is alive.
func (t Token) Valid() bool { return t.Engine() <= MaxEngine && t.Generation() != 0 }

// String returns the parts as "engine/index#generation".
func (t Token) String() string {
	if !t.Valid() {
		return fmt.Sprintf("invalid token %#x", uint64(t))
	}
	return fmt.Sprintf("%d/%d#%d", t.Engine(), t.Index(), t.Generation())
}

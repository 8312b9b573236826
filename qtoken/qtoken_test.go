package qtoken_test

import (
	"math"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/qtoken"
	"catmint/qtoken/internal/ctable"
)

func TestGoAndCAgreeOnTheEncoding(t *testing.T) {
	assert.Equal(t, ctable.IndexBits, qtoken.IndexBits)
	assert.Equal(t, ctable.GenerationBits, qtoken.GenerationBits)
	assert.Equal(t, ctable.EngineBits, qtoken.EngineBits)
	assert.Equal(t, ctable.MaxEngine, qtoken.MaxEngine)
	require.NoError(t, quick.Check(func(engine uint32, generation uint64, index uint32) bool {
		engine %= qtoken.MaxEngine + 1
		generation &= qtoken.MaxGeneration
		index &= qtoken.MaxIndex
		tok := qtoken.Make(engine, generation, index)
		return tok == ctable.MakeToken(engine, generation, index) &&
			tok.Engine() == engine && tok.Generation() == generation && tok.Index() == index
	}, nil))
}

func TestASlotIsTwoCacheLines(t *testing.T) {
	assert.Equal(t, 128, ctable.SlotSize)
}

func TestZeroAndAllOnesAreNeverTokens(t *testing.T) {
	assert.False(t, qtoken.Token(0).Valid())
	assert.False(t, qtoken.Token(math.MaxUint64).Valid())
	last := qtoken.Make(qtoken.MaxEngine, qtoken.MaxGeneration, qtoken.MaxIndex)
	assert.True(t, last.Valid())
	assert.NotEqual(t, qtoken.Token(math.MaxUint64), last)
	assert.True(t, qtoken.Make(0, 1, 0).Valid())
	assert.False(t, qtoken.Make(qtoken.MaxEngine+1, 1, 0).Valid())
}

func TestATokenPrintsItsParts(t *testing.T) {
	assert.Equal(t, "3/17#9", qtoken.Make(3, 9, 17).String())
	assert.Equal(t, "invalid token 0x0", qtoken.Token(0).String())
}

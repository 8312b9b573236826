package qtoken_test

import (
	"encoding/binary"
	"math"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/qtoken"
	"catmint/qtoken/internal/ctable"
)

func newTable(tb testing.TB, engine, maxTokens uint32) *ctable.Table {
	tb.Helper()
	table, err := ctable.New(engine, maxTokens)
	require.NoError(tb, err)
	return table
}

func mustAlloc(tb testing.TB, table *ctable.Table, op int) qtoken.Token {
	tb.Helper()
	tok, err := table.Alloc(500, op)
	require.NoError(tb, err)
	return tok
}

func TestATokenIsRedeemedOnce(t *testing.T) {
	table := newTable(t, 7, 0)
	tok := mustAlloc(t, table, ctable.OpPush)
	assert.Equal(t, uint32(7), tok.Engine())
	assert.True(t, tok.Valid())
	assert.Equal(t, ctable.Pending, table.Peek(tok))

	_, err := table.Redeem(tok)
	assert.Equal(t, syscall.ETIMEDOUT, err, "pending")

	require.NoError(t, table.Complete(tok, ctable.OpPush, 0, 0))
	assert.Equal(t, ctable.Done, table.Peek(tok))
	assert.Equal(t, syscall.EINVAL, table.Complete(tok, ctable.OpPush, 0, 0), "completed once")

	r, err := table.Redeem(tok)
	require.NoError(t, err)
	assert.Equal(t, ctable.Result{Token: tok, Op: ctable.OpPush, QD: 500}, r)

	_, err = table.Redeem(tok)
	assert.Equal(t, syscall.EINVAL, err)
	assert.Equal(t, ctable.Free, table.Peek(tok))
	assert.Equal(t, syscall.EINVAL, table.Complete(tok, ctable.OpPush, 0, 0))
	assert.Equal(t, syscall.EINVAL, table.Abandon(tok))
	require.NoError(t, table.Close())
}

func TestAResultCarriesWhatCompletedIt(t *testing.T) {
	table := newTable(t, 0, 0)
	failed := mustAlloc(t, table, ctable.OpConnect)
	require.NoError(t, table.Complete(failed, ctable.OpFailed, int64(syscall.ECONNREFUSED), 0))
	r, err := table.Redeem(failed)
	require.NoError(t, err)
	assert.Equal(t, ctable.OpFailed, r.Op)
	assert.Equal(t, int64(syscall.ECONNREFUSED), r.Ret)
	assert.Zero(t, r.Value)

	popped := mustAlloc(t, table, ctable.OpPop)
	require.NoError(t, table.Complete(popped, ctable.OpPop, 0, 1234))
	r, err = table.Redeem(popped)
	require.NoError(t, err)
	assert.Equal(t, uint32(1), binary.NativeEndian.Uint32(r.Value[8:]), "sga_numsegs")
	assert.Equal(t, uint32(1234), binary.NativeEndian.Uint32(r.Value[20:]), "sgaseg_len")

	accepted := mustAlloc(t, table, ctable.OpAccept)
	require.NoError(t, table.CompleteAccept(accepted, 501, 0x1234))
	r, err = table.Redeem(accepted)
	require.NoError(t, err)
	assert.Equal(t, uint32(501), binary.NativeEndian.Uint32(r.Value[:]), "qd")
	assert.Equal(t, uint16(0x1234), binary.NativeEndian.Uint16(r.Value[6:]), "sin_port")
	assert.Equal(t, make([]byte, 20), r.Value[20:], "no remains of an earlier result")
	require.NoError(t, table.Close())
}

func TestWhatIsNotATokenOfTheTableIsRefused(t *testing.T) {
	table := newTable(t, 1, 0)
	tok := mustAlloc(t, table, ctable.OpPop)
	bad := map[string]qtoken.Token{
		"zero":                  0,
		"all ones":              math.MaxUint64,
		"another engine's":      qtoken.Make(2, tok.Generation(), tok.Index()),
		"an older generation":   qtoken.Make(1, tok.Generation()-1, tok.Index()),
		"a later generation":    qtoken.Make(1, tok.Generation()+1, tok.Index()),
		"a slot never used":     qtoken.Make(1, 1, tok.Index()+1),
		"no generation":         qtoken.Make(1, 0, tok.Index()+1),
		"a chunk never made":    qtoken.Make(1, 1, ctable.ChunkSlots*3),
		"the greatest index":    qtoken.Make(1, 1, qtoken.MaxIndex),
		"the greatest of parts": qtoken.Make(1, qtoken.MaxGeneration, qtoken.MaxIndex),
	}
	for name, b := range bad {
		_, err := table.Redeem(b)
		assert.Equal(t, syscall.EINVAL, err, name)
		assert.Equal(t, ctable.Free, table.Peek(b), name)
		assert.Equal(t, syscall.EINVAL, table.Complete(b, ctable.OpPop, 0, 0), name)
		assert.Equal(t, syscall.EINVAL, table.Abandon(b), name)
		_, err = table.Watch(b)
		assert.Equal(t, syscall.EINVAL, err, name)
		assert.Equal(t, syscall.EINVAL, table.Unwatch(b), name)
	}
	assert.Equal(t, 1, table.Alive())
	require.NoError(t, table.Abandon(tok))
	require.NoError(t, table.Close())
}

func TestBadParametersOfATableAreRefused(t *testing.T) {
	_, err := ctable.New(qtoken.MaxEngine+1, 0)
	assert.Equal(t, syscall.EINVAL, err)
	_, err = ctable.New(0, ctable.MaxTokens+1)
	assert.Equal(t, syscall.EINVAL, err)
	table, err := ctable.New(qtoken.MaxEngine, ctable.MaxTokens)
	require.NoError(t, err)
	require.NoError(t, table.Close())
}

func TestAFullTableAnswersEAGAINUntilATokenIsFree(t *testing.T) {
	const limit = ctable.ChunkSlots + 3 // the last chunk is used in part
	table := newTable(t, 0, limit)
	toks := make([]qtoken.Token, limit)
	for i := range toks {
		toks[i] = mustAlloc(t, table, ctable.OpPush)
	}
	_, err := table.Alloc(500, ctable.OpPush)
	assert.Equal(t, syscall.EAGAIN, err)
	assert.Equal(t, ctable.Free, table.Peek(qtoken.Make(0, 1, limit)), "beyond the maximum, inside the chunk")
	assert.Equal(t, limit, table.Alive())
	assert.Equal(t, syscall.EBUSY, table.Close())

	require.NoError(t, table.Abandon(toks[5]))
	again := mustAlloc(t, table, ctable.OpPush)
	assert.Equal(t, toks[5].Index(), again.Index())
	assert.NotEqual(t, toks[5], again)
	toks[5] = again
	for _, tok := range toks {
		require.NoError(t, table.Abandon(tok))
	}
	require.NoError(t, table.Close())
}

func TestNoMemoryToGrowIsEAGAINAndPasses(t *testing.T) {
	table := newTable(t, 0, 0)
	table.FailGrowth(true)
	_, err := table.Alloc(500, ctable.OpPush)
	assert.Equal(t, syscall.EAGAIN, err)
	table.FailGrowth(false)
	var toks []qtoken.Token
	for range ctable.ChunkSlots {
		toks = append(toks, mustAlloc(t, table, ctable.OpPush))
	}
	table.FailGrowth(true)
	_, err = table.Alloc(500, ctable.OpPush)
	assert.Equal(t, syscall.EAGAIN, err)
	table.FailGrowth(false)
	toks = append(toks, mustAlloc(t, table, ctable.OpPush))
	for _, tok := range toks {
		require.NoError(t, table.Abandon(tok))
	}
	require.NoError(t, table.Close())
}

func TestASlotWhoseGenerationsAreSpentIsRetired(t *testing.T) {
	table := newTable(t, 0, 2)
	table.SetMaxGeneration(5)
	seen := map[qtoken.Token]bool{}
	for range 2 * 5 {
		tok := mustAlloc(t, table, ctable.OpPush)
		require.False(t, seen[tok], "a token value comes once")
		seen[tok] = true
		for old := range seen {
			if old != tok {
				require.Equal(t, ctable.Free, table.Peek(old))
			}
		}
		require.NoError(t, table.Complete(tok, ctable.OpPush, 0, 0))
		_, err := table.Redeem(tok)
		require.NoError(t, err)
	}
	assert.Equal(t, 2, table.Retired())
	_, err := table.Alloc(500, ctable.OpPush)
	assert.Equal(t, syscall.EAGAIN, err)
	for old := range seen {
		_, err := table.Redeem(old)
		assert.Equal(t, syscall.EINVAL, err)
	}
	require.NoError(t, table.Close())
}

func TestTheOldestCompletedComesFirstAndAnyMayBeTakenOut(t *testing.T) {
	table := newTable(t, 0, 0)
	var toks [4]qtoken.Token
	for i := range toks {
		toks[i] = mustAlloc(t, table, ctable.OpPush)
	}
	assert.Zero(t, table.NextDone())
	for _, i := range []int{2, 0, 3, 1} {
		require.NoError(t, table.Complete(toks[i], ctable.OpPush, 0, 0))
	}
	for _, take := range []struct{ next, redeem int }{{2, 3}, {2, 2}, {0, 1}, {0, 0}} {
		assert.Equal(t, toks[take.next], table.NextDone())
		_, err := table.Redeem(toks[take.redeem])
		require.NoError(t, err)
	}
	assert.Zero(t, table.NextDone())
	require.NoError(t, table.Close())
}

func TestAWatchedTokenIsKeptForItsWaiter(t *testing.T) {
	table := newTable(t, 0, 0)
	before := mustAlloc(t, table, ctable.OpConnect)
	after := mustAlloc(t, table, ctable.OpPop)
	done, err := table.Watch(before)
	require.NoError(t, err)
	assert.False(t, done)
	require.NoError(t, table.Complete(before, ctable.OpConnect, 0, 0))
	require.NoError(t, table.Complete(after, ctable.OpPop, 0, 0))
	done, err = table.Watch(after)
	require.NoError(t, err)
	assert.True(t, done)
	assert.Zero(t, table.NextDone())
	assert.Equal(t, 2, table.Done())
	assert.Equal(t, ctable.Done, table.Peek(before))

	require.NoError(t, table.Unwatch(after))
	assert.Equal(t, after, table.NextDone())
	_, err = table.Redeem(after)
	require.NoError(t, err)
	_, err = table.Redeem(before)
	require.NoError(t, err)
	require.NoError(t, table.Close())
}

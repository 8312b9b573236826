package qtoken_test

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/qtoken"
	"catmint/qtoken/internal/ctable"
)

// model is the table as one would write it without a care for speed.
type model struct {
	max, maxGen int
	live        map[qtoken.Token]*operation
	order       []qtoken.Token // completed and not watched, oldest first
	ever        map[qtoken.Token]bool
	retired     int
}

type operation struct {
	qd            int32
	op            int
	done, watched bool
	result        ctable.Result
}

func (m *model) drop(tok qtoken.Token) {
	m.order = slices.DeleteFunc(m.order, func(o qtoken.Token) bool { return o == tok })
	delete(m.live, tok)
	if tok.Generation() == uint64(m.maxGen) {
		m.retired++
	}
}

// exercise lets the table and the model do what data says, two bytes a step, and compares
// them as it goes.
func exercise(tb testing.TB, data []byte) {
	tb.Helper()
	const limit, maxGen, engine = 20, 6, 3
	table := newTable(tb, engine, limit)
	table.SetMaxGeneration(maxGen)
	m := &model{max: limit, maxGen: maxGen, live: map[qtoken.Token]*operation{}, ever: map[qtoken.Token]bool{}}
	var known []qtoken.Token // every token ever given out, dead ones included, and wrong ones
	known = append(known, 0, ^qtoken.Token(0), qtoken.Make(engine, 1, limit), qtoken.Make(engine+1, 1, 0))

	for len(data) >= 2 {
		step, arg := data[0], int(data[1])
		data = data[2:]
		tok := known[len(known)-1-arg%len(known)]
		op := m.live[tok]
		switch step % 8 {
		case 0, 1:
			got, err := table.Alloc(int32(arg), ctable.OpPop)
			if len(m.live)+m.retired == m.max {
				require.Equal(tb, syscall.EAGAIN, err)
				break
			}
			require.NoError(tb, err)
			require.False(tb, m.ever[got], "%v was given out before", got)
			require.True(tb, got.Valid())
			m.ever[got] = true
			m.live[got] = &operation{qd: int32(arg), op: ctable.OpPop}
			known = append(known, got)
		case 2, 3:
			code, ret := ctable.OpPop, int64(0)
			if arg%3 == 0 {
				code, ret = ctable.OpFailed, int64(arg)+1
			}
			err := table.Complete(tok, code, ret, uint32(arg))
			if op == nil || op.done {
				require.Equal(tb, syscall.EINVAL, err)
				break
			}
			require.NoError(tb, err)
			op.done = true
			op.result = ctable.Result{Token: tok, Op: code, QD: op.qd, Ret: ret}
			if arg != 0 && code != ctable.OpFailed { // a failed operation has no value
				op.result.Value[8] = 1
				op.result.Value[20] = byte(arg)
			}
			if !op.watched {
				m.order = append(m.order, tok)
			}
		case 4:
			got, err := table.Redeem(tok)
			switch {
			case op == nil:
				require.Equal(tb, syscall.EINVAL, err)
			case !op.done:
				require.Equal(tb, syscall.ETIMEDOUT, err)
			default:
				require.NoError(tb, err)
				require.Equal(tb, op.result, got)
				m.drop(tok)
			}
		case 5:
			err := table.Abandon(tok)
			if op == nil {
				require.Equal(tb, syscall.EINVAL, err)
				break
			}
			require.NoError(tb, err)
			m.drop(tok)
		case 6:
			done, err := table.Watch(tok)
			if op == nil {
				require.Equal(tb, syscall.EINVAL, err)
				break
			}
			require.NoError(tb, err)
			require.Equal(tb, op.done, done)
			op.watched = true
			m.order = slices.DeleteFunc(m.order, func(o qtoken.Token) bool { return o == tok })
		case 7:
			err := table.Unwatch(tok)
			if op == nil {
				require.Equal(tb, syscall.EINVAL, err)
				break
			}
			require.NoError(tb, err)
			if op.watched && op.done {
				m.order = append(m.order, tok)
			}
			op.watched = false
		}
		compare(tb, table, m)
		if len(data)%64 < 2 {
			compareStates(tb, table, m, known)
		}
	}
	compareStates(tb, table, m, known)
	for tok := range m.live {
		require.NoError(tb, table.Abandon(tok))
	}
	require.NoError(tb, table.Close())
}

func compare(tb testing.TB, table *ctable.Table, m *model) {
	tb.Helper()
	done := 0
	for _, op := range m.live {
		if op.done {
			done++
		}
	}
	if table.Alive() != len(m.live) || table.Done() != done || table.Retired() != m.retired {
		tb.Fatalf("alive, done, retired: %d, %d, %d; the model has %d, %d, %d",
			table.Alive(), table.Done(), table.Retired(), len(m.live), done, m.retired)
	}
	var next qtoken.Token
	if len(m.order) > 0 {
		next = m.order[0]
	}
	if got := table.NextDone(); got != next {
		tb.Fatalf("next done is %v; the model has %v", got, next)
	}
}

// compareStates looks at every token that was ever alive.
func compareStates(tb testing.TB, table *ctable.Table, m *model, known []qtoken.Token) {
	tb.Helper()
	for _, tok := range known {
		want := ctable.Free
		if op := m.live[tok]; op != nil && op.done {
			want = ctable.Done
		} else if op != nil {
			want = ctable.Pending
		}
		if got := table.Peek(tok); got != want {
			tb.Fatalf("%v: state %v; the model has %v", tok, got, want)
		}
	}
}

func TestTheTableDoesWhatTheModelDoes(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(rnd.Uint32())
			if i%2 == 1 {
				data[i] %= 32 // mostly tokens that are alive
			}
		}
		exercise(t, data)
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0, 4, 0})                         // one life
	f.Add([]byte{0, 0, 6, 0, 2, 0, 7, 0, 4, 0, 4, 0})       // watched, let go, redeemed twice
	f.Add([]byte{0, 0, 0, 1, 0, 2, 2, 1, 2, 0, 4, 0, 5, 2}) // out of order
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2000 { // the model compares everything each step
			data = data[:2000]
		}
		exercise(t, data)
	})
}

package model

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath/internal/cwire"
)

// A state is stored by differences and rebuilt with other counts: walks over states that are
// never stored must meet the same states as walks that rebuild at every step.
func TestARebuiltStateBehavesAsTheOneStored(t *testing.T) {
	closing := [2]CloseKind{ClosesAnyhow, ClosesAnyhow}
	for _, c := range []Config{
		{DataWindow: 3, CtrlWindow: 4, Pushes: [2]int{2, 2}, Pings: [2]bool{true, true}, Grows: [2]int{2, 2}},
		{
			DataWindow: 2, CtrlWindow: 4, Pushes: [2]int{2, 1}, Closes: closing, Pings: [2]bool{true, true},
			Sizes: [2]Sizes{Mixed, Mixed},
		},
		{
			DataWindow: 4, CtrlWindow: 4, Pushes: [2]int{2, 1}, Closes: closing, Sizes: [2]Sizes{Mixed, Mixed},
			Grows: [2]int{4, 2}, GrowBy: 2, Lists: 2,
		},
		{
			DataWindow: 2, CtrlWindow: 4, Pushes: [2]int{2, 1}, Sizes: [2]Sizes{Mixed, Mixed},
			Grows: [2]int{6, 2}, GrowBy: 2, Doubles: [2]Doubling{DoublesAnyhow, DoublesByMessage}, Doubled: 6,
		},
	} {
		rng := rand.New(rand.NewPCG(1, 2)) // the same walks every time
		for range 15 {
			walked, err := newState(&c)
			require.NoError(t, err)
			for range 300 {
				key := walked.encode(nil, 0)
				rebuilt := c.decode(key)
				require.Equal(t, key, rebuilt.encode(nil, 0))
				var possible []Step
				for a := range numActions {
					for side := range 2 {
						st := Step{side, a}
						fromWalked, fromRebuilt := walked, rebuilt
						ok, sent, err := c.try(&fromWalked, st, views(&walked))
						okRebuilt, sentRebuilt, errRebuilt := c.try(&fromRebuilt, st, views(&rebuilt))
						if err != nil || errRebuilt != nil || ok != okRebuilt || sent != sentRebuilt {
							t.Fatalf("%v: %v %v %v, rebuilt %v %v %v", st, ok, sent, err, okRebuilt, sentRebuilt, errRebuilt)
						}
						if ok {
							if !bytes.Equal(fromWalked.encode(nil, 0), fromRebuilt.encode(nil, 0)) {
								t.Fatalf("%v leads to different states", st)
							}
							possible = append(possible, st)
						}
					}
				}
				if len(possible) == 0 {
					break
				}
				_, _, err := c.try(&walked, possible[rng.IntN(len(possible))], views(&walked))
				require.NoError(t, err)
				require.NoError(t, c.checkShape(&walked))
			}
		}
	}
}

func views(s *State) *[2]cwire.View {
	return &[2]cwire.View{s.E[0].Flow.View(s.E[0].nPending > 0), s.E[1].Flow.View(s.E[1].nPending > 0)}
}

func TestTheTableNumbersKeysInOrder(t *testing.T) {
	table := newTable()
	key := func(n int) []byte { return []byte{uint8(n), uint8(n >> 8), uint8(n >> 16)}[:1+n%3] }
	numbers := map[string]int{}
	for n := range 50_000 {
		k := key(n)
		want, known := numbers[string(k)]
		got, isNew := table.add(k)
		require.Equal(t, !known, isNew)
		if !known {
			want = len(numbers)
			numbers[string(k)] = want
		}
		require.Equal(t, want, got)
		require.Equal(t, k, table.key(got))
	}
	require.Equal(t, len(numbers), table.len())
}

package qtoken_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/qtoken/internal/ctable"
)

// BenchmarkCycle is what a token costs the data plane: taken, completed, found as the
// oldest completed and redeemed, all in C, with so many alive at a time.
func BenchmarkCycle(b *testing.B) {
	for _, alive := range []uint32{1, 16, 1024} {
		b.Run(fmt.Sprintf("alive=%d", alive), func(b *testing.B) {
			table := newTable(b, 0, 0)
			b.ResetTimer()
			table.Cycle(uint64(b.N), alive)
			b.StopTimer()
			require.NoError(b, table.Close())
		})
	}
}

// BenchmarkFromGo is the same with a crossing from Go to C for each step, as the control
// plane pays it.
func BenchmarkFromGo(b *testing.B) {
	table := newTable(b, 0, 0)
	for range b.N {
		tok, err := table.Alloc(500, ctable.OpConnect)
		if err != nil {
			b.Fatal(err)
		}
		if err := table.Complete(tok, ctable.OpConnect, 0, 0); err != nil {
			b.Fatal(err)
		}
		if _, err := table.Redeem(tok); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, table.Close())
}

package qtoken_test

import (
	"testing"

	"catmint/datapath/ctest"
)

func TestOtherThreadsMayPeek(t *testing.T) {
	t.Parallel()
	ctest.Run(t, ctest.Program{
		Sources:  []string{"qtoken/testdata/peek_test.c"},
		Includes: []string{"qtoken"},
	}, ctest.Address, ctest.Thread)
}

func TestTokensBesideTheTable(t *testing.T) {
	t.Parallel()
	ctest.Run(t, ctest.Program{
		Sources:  []string{"qtoken/testdata/quick_test.c"},
		Includes: []string{"qtoken"},
	}, ctest.Address)
}

func TestTheFuzzTargetFindsNothing(t *testing.T) {
	t.Parallel()
	ctest.Run(t, ctest.Program{
		Sources:  []string{"qtoken/testdata/fuzz_table.c"},
		Includes: []string{"qtoken"},
		Flags:    []string{"-DREPLAY=200"},
	}, ctest.Address)
}

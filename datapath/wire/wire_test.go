package wire_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath/ctest"
	"catmint/datapath/wire"
)

func TestAHostilePeerFindsNothingUndefined(t *testing.T) {
	t.Parallel()
	ctest.Run(t, ctest.Program{
		Sources: []string{"datapath/wire/testdata/wire_fuzz.c"},
		Flags:   []string{"-DSTANDALONE", "-Wconversion"},
		Args:    []string{"200000"},
	}, ctest.Address)
}

func TestTheAnalyzerFindsNothingInTheRules(t *testing.T) {
	t.Parallel()
	ctest.Analyze(t, "datapath/wire/testdata/wire_fuzz.c")
}

func TestTheHeadersAreEmbeddedForTheBuildCache(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(wire.Headers, "*")
	require.NoError(t, err)
	require.Equal(t, []string{"flow.h", "frame.h"}, names)
}

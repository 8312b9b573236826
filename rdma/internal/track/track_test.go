package track_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma/internal/track"
)

func makeThing() *track.Record { return track.Open("thing") }

func TestOpenObjectIsReportedWithTheStackThatMadeIt(t *testing.T) {
	track.Enable(true)
	defer track.Enable(false)
	r := makeThing()
	leaks := track.Leaks()
	require.Len(t, leaks, 1)
	assert.Contains(t, leaks[0], "thing made by")
	assert.Contains(t, leaks[0], "track_test.makeThing")
	assert.Contains(t, leaks[0], "track_test.go:")
	assert.Equal(t, map[string]int{"thing": 1}, track.Counts())
	r.Close()
	assert.Empty(t, track.Leaks())
	assert.Empty(t, track.Counts())
}

func TestASecondCloseCountsOnce(t *testing.T) {
	a, b := makeThing(), makeThing()
	a.Close()
	a.Close()
	assert.Equal(t, map[string]int{"thing": 1}, track.Counts())
	b.Close()
}

func TestStacksAreRememberedOnlyWhenAskedFor(t *testing.T) {
	track.Enable(false)
	r := makeThing()
	defer r.Close()
	assert.Empty(t, track.Leaks())
	assert.Equal(t, map[string]int{"thing": 1}, track.Counts())
	track.Enable(true)
	defer track.Enable(false)
	assert.Empty(t, track.Leaks(), "what was open before is not reported")
}

package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func rows(t *testing.T, all []scenario, only string) (failed int, lines []string) {
	t.Helper()
	var out bytes.Buffer
	failed = runAll(t.Context(), &bed{}, all, only, &out)
	return failed, strings.Split(strings.TrimSpace(out.String()), "\n")
}

func TestTheTableEndsWithTheCounts(t *testing.T) {
	good := func(context.Context, *bed, scenario) error { return nil }
	bad := func(context.Context, *bed, scenario) error { return errors.New("two\nlines") }
	failed, lines := rows(t, []scenario{{"a to b", 0, 64, 5, good}, {"b to a", 1, 23, 7, bad}}, "")
	assert.Equal(t, 1, failed)
	require.Len(t, lines, 6)
	assert.Regexp(t, `^a to b +IPv4 +64 +5  ok in 0\.0 s$`, lines[1])
	assert.Regexp(t, `^b to a +IPv6 +23 +7  FAILED`, lines[2])
	assert.Equal(t, []string{"    two", "    lines", "1 passed, 1 failed"}, lines[3:])

	failed, lines = rows(t, []scenario{{"a to b", 0, 64, 5, good}, {"b to a", 1, 23, 7, bad}}, "a to b")
	assert.Zero(t, failed)
	assert.Equal(t, "1 passed, 0 failed", lines[len(lines)-1])
}

func TestARunThatIsStoppedFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	assert.Equal(t, 1, runAll(ctx, &bed{}, scenarios(true), "", &out))
}

func TestProgramsAreHeldToWhatTheyPrintAndReturn(t *testing.T) {
	p, err := start(t.Context(), "sh", "-c", "echo one; echo two; exit 3")
	require.NoError(t, err)
	require.NoError(t, p.await(t.Context(), "two", 1))
	require.NoError(t, p.expect(3))
	require.NoError(t, p.expectFailure())
	require.ErrorContains(t, p.expect(0), "exit status 3, not 0")
	require.ErrorContains(t, p.await(t.Context(), "three", 1), "it ended")
	assert.Contains(t, p.report(), "one\n  two")
}

func TestAStockClientMayLoseItsChannelOnlyAtTheEnd(t *testing.T) {
	const ping, end, lost = "echo ping data: rdma-ping-0:;", "echo client DISCONNECT EVENT... >&2;",
		"echo rdma_get_cm_event: Bad file descriptor >&2; exit 255"
	for script, fine := range map[string]bool{
		ping + end:                           true,
		ping + end + lost:                    true,
		ping + lost:                          false,
		end + lost:                           false, // no ping came back
		ping + end + "exit 255":              false,
		ping + "echo mismatch;" + end + lost: false,
	} {
		p, err := start(t.Context(), "sh", "-c", script)
		require.NoError(t, err)
		assert.Equal(t, fine, checkStock(p, scenario{pings: 1}) == nil, script)
	}
}

func TestTheLongFormHasEverySizeAndTheShortFormTheLimits(t *testing.T) {
	for short, sizes := range map[bool][]int{false: allSizes, true: someSizes} {
		var got []int
		for _, s := range scenarios(short) {
			if s.what == "rping to rping-demi" && s.family == 1 {
				got = append(got, s.size)
			}
		}
		assert.Equal(t, sizes, got)
	}
}

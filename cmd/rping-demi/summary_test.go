package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSummaryCountsAndRanks(t *testing.T) {
	s := newSummary(64)
	for i := 1; i <= 100; i++ {
		s.sent++
		s.add(time.Duration(i) * time.Microsecond)
	}
	s.sent++ // one lost
	s.elapsed, s.checked = time.Second, true
	var out bytes.Buffer
	s.print(&out)
	assert.Equal(t, `101 pings of 64 bytes: 100 intact, 1 lost
round trip: min 1.0, median 50.0, p99 99.0, p99.9 100.0, max 100.0 us
rate: 100 pings/s, 0.006 MB/s each way
`, out.String())
}

func TestSummaryOfNothingShowsNoTimes(t *testing.T) {
	s := newSummary(1)
	s.sent = 1
	var out bytes.Buffer
	s.print(&out)
	assert.Equal(t, "1 ping of 1 byte: 0 came back, 1 lost\n", out.String())
}

func TestSummariesOfConnectionsAreMerged(t *testing.T) {
	a, b, none := newSummary(1000), newSummary(1000), newSummary(1000)
	for i := range 4 {
		a.sent++
		a.add(time.Duration(10+i) * time.Microsecond)
		b.sent++
		b.add(time.Duration(1+i) * time.Microsecond)
	}
	b.thin()
	b.sent++
	a.merge(none)
	a.merge(b)
	assert.Equal(t, 9, a.sent)
	assert.Equal(t, 1, a.lost())
	assert.Equal(t, time.Microsecond, a.min)
	assert.Equal(t, 13*time.Microsecond, a.max)
	assert.Equal(t, 2, a.stride)
	assert.Len(t, a.samples, 4)
	a.elapsed = time.Second
	assert.InDelta(t, 0.008, a.bandwidth(), 1e-9)
	none.merge(b)
	assert.Equal(t, time.Microsecond, none.min)
}

func TestSummaryOfALongRunKeepsBoundedEvenSamples(t *testing.T) {
	s := newSummary(64)
	const n = 5*maxSamples + 3
	for i := range n {
		s.add(time.Duration(i + 1))
	}
	assert.LessOrEqual(t, len(s.samples), maxSamples)
	assert.Equal(t, n, s.intact)
	for i, d := range s.samples {
		if d != time.Duration(i*s.stride+1) {
			t.Fatalf("sample %d is %d, want round trip %d", i, d, i*s.stride+1)
		}
	}
	assert.Equal(t, time.Duration(1), s.min)
	assert.Equal(t, time.Duration(n), s.max)
}

func TestDurationsArePrintedInTheFieldsUnits(t *testing.T) {
	assert.Equal(t, "1.5 us", micros(1500*time.Nanosecond))
	assert.Equal(t, "9999.0 us", micros(9999*time.Microsecond))
	assert.Equal(t, "20.0 ms", micros(20*time.Millisecond))
	assert.Equal(t, "61.5 s", micros(61500*time.Millisecond))
}

func TestTimesBesideOneAnotherAreInOneUnit(t *testing.T) {
	s := newSummary(1 << 20)
	for _, d := range []time.Duration{9 * time.Millisecond, 12 * time.Millisecond, 3 * time.Second} {
		s.sent++
		s.add(d)
	}
	s.elapsed = 10 * time.Millisecond
	var out bytes.Buffer
	s.print(&out)
	assert.Equal(t, `3 pings of 1048576 bytes: 3 came back, 0 lost
round trip: min 9.0, median 12.0, p99 3000.0, p99.9 3000.0, max 3000.0 ms
rate: 300 pings/s, 314.6 MB/s each way (2.5 Gbit/s)
`, out.String())
}

// By whole numbers: the smallest sample such that so many thousandths are not larger.
func TestQuantilesAreTheNearestRank(t *testing.T) {
	for _, n := range []int{1, 2, 3, 9, 10, 99, 100, 101, 999, 1000, 1001, 4567, maxSamples} {
		sorted := make([]time.Duration, n)
		for i := range sorted {
			sorted[i] = time.Duration(i + 1)
		}
		for _, thousandths := range []int{500, 990, 999} {
			want := time.Duration((n*thousandths + 999) / 1000)
			assert.Equal(t, want, quantile(sorted, float64(thousandths)/1000), "%d of 1000 of %d", thousandths, n)
		}
	}
}

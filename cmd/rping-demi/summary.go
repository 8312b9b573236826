package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// maxSamples bounds what a run without end keeps of its round-trip times; beyond it, every
// second sample goes and half as many are taken from then on, evenly over the run.
const maxSamples = 1 << 20

// summary is what a client saw.
type summary struct {
	size     int
	sent     int
	intact   int
	elapsed  time.Duration
	samples  []time.Duration
	stride   int // one in stride round trips is kept
	min, max time.Duration
}

func newSummary(size int) *summary { return &summary{size: size, stride: 1} }

// add counts a ping that came back intact after rtt.
func (s *summary) add(rtt time.Duration) {
	if s.intact == 0 || rtt < s.min {
		s.min = rtt
	}
	s.max = max(s.max, rtt)
	if s.intact%s.stride == 0 {
		if len(s.samples) == maxSamples {
			for i := range maxSamples / 2 {
				s.samples[i] = s.samples[2*i]
			}
			s.samples = s.samples[:maxSamples/2]
			s.stride *= 2
		}
		if s.intact%s.stride == 0 {
			s.samples = append(s.samples, rtt)
		}
	}
	s.intact++
}

// quantile is the nearest-rank quantile of sorted, which is not empty.
func quantile(sorted []time.Duration, q float64) time.Duration {
	rank := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[max(0, min(rank, len(sorted)-1))]
}

func (s *summary) print(w io.Writer) {
	fmt.Fprintf(w, "%d %s of %d bytes: %d intact, %d lost\n",
		s.sent, plural(s.sent, "ping", "pings"), s.size, s.intact, s.sent-s.intact)
	if s.intact == 0 {
		return
	}
	sorted := slices.Clone(s.samples)
	slices.Sort(sorted)
	fmt.Fprintf(w, "round trip: min %s, median %s, p99 %s, max %s\n",
		micros(s.min), micros(quantile(sorted, 0.5)), micros(quantile(sorted, 0.99)), micros(s.max))
	if s.elapsed > 0 {
		fmt.Fprintf(w, "rate: %.0f pings/s\n", float64(s.intact)/s.elapsed.Seconds())
	}
}

// micros prints a duration as microseconds, the unit of the field, or milliseconds.
func micros(d time.Duration) string {
	if d >= 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f us", float64(d)/float64(time.Microsecond))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

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
	unit     string // what was counted
	size     int    // bytes of one
	sent     int
	intact   int
	elapsed  time.Duration
	samples  []time.Duration
	stride   int // one in stride round trips is kept
	min, max time.Duration
}

func newSummary(size int) *summary { return &summary{unit: "ping", size: size, stride: 1} }

// add counts a ping that came back intact after rtt.
func (s *summary) add(rtt time.Duration) {
	if s.intact == 0 || rtt < s.min {
		s.min = rtt
	}
	s.max = max(s.max, rtt)
	if s.intact%s.stride == 0 {
		if len(s.samples) == maxSamples {
			s.thin()
		}
		if s.intact%s.stride == 0 {
			s.samples = append(s.samples, rtt)
		}
	}
	s.intact++
}

// thin lets go of every second sample.
func (s *summary) thin() {
	half := (len(s.samples) + 1) / 2
	for i := range half {
		s.samples[i] = s.samples[2*i]
	}
	s.samples = s.samples[:half]
	s.stride *= 2
}

// merge adds what another connection saw at the same time.
func (s *summary) merge(o *summary) {
	for s.stride < o.stride {
		s.thin()
	}
	for o.stride < s.stride {
		o.thin()
	}
	if o.intact > 0 && (s.intact == 0 || o.min < s.min) {
		s.min = o.min
	}
	s.max = max(s.max, o.max)
	s.sent += o.sent
	s.intact += o.intact
	s.elapsed = max(s.elapsed, o.elapsed)
	s.samples = append(s.samples, o.samples...)
}

// ranks are quantiles of the round trips.
type ranks struct{ median, p99, p999 time.Duration }

// ranked sorts the samples, of which there is at least one.
func (s *summary) ranked() ranks {
	slices.Sort(s.samples)
	return ranks{quantile(s.samples, 0.5), quantile(s.samples, 0.99), quantile(s.samples, 0.999)}
}

// rate is how many came back in a second.
func (s *summary) rate() float64 {
	if s.elapsed <= 0 {
		return 0
	}
	return float64(s.intact) / s.elapsed.Seconds()
}

// bandwidth is what came back, and went out, in a second: 10^6 bytes.
func (s *summary) bandwidth() float64 { return s.rate() * float64(s.size) / 1e6 }

// quantile is the nearest-rank quantile of sorted, which is not empty.
func quantile(sorted []time.Duration, q float64) time.Duration {
	rank := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[max(0, min(rank, len(sorted)-1))]
}

// lost is how many did not come back.
func (s *summary) lost() int { return s.sent - s.intact }

func (s *summary) print(w io.Writer) {
	units := plural(s.sent, s.unit, s.unit+"s")
	if s.size > 0 {
		fmt.Fprintf(w, "%d %s of %d bytes: %d intact, %d lost\n", s.sent, units, s.size, s.intact, s.lost())
	} else {
		fmt.Fprintf(w, "%d %s: %d made, %d failed\n", s.sent, units, s.intact, s.lost())
	}
	if s.intact == 0 {
		return
	}
	what := "round trip"
	if s.size == 0 {
		what = "to connect"
	}
	r := s.ranked()
	fmt.Fprintf(w, "%s: min %s, median %s, p99 %s, p99.9 %s, max %s\n",
		what, micros(s.min), micros(r.median), micros(r.p99), micros(r.p999), micros(s.max))
	if s.elapsed > 0 {
		fmt.Fprintf(w, "rate: %.0f %ss/s", s.rate(), s.unit)
		if s.size > 0 {
			fmt.Fprintf(w, ", %s MB/s each way", megabytes(s.bandwidth()))
		}
		fmt.Fprintln(w)
	}
}

func megabytes(n float64) string {
	if n < 10 {
		return fmt.Sprintf("%.3f", n)
	}
	return fmt.Sprintf("%.1f", n)
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

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
	checked  bool   // every byte of what came back was compared
	sent     int
	intact   int
	elapsed  time.Duration
	samples  []time.Duration
	stride   int // one in stride round trips is kept
	min, max time.Duration
}

// What is counted.
const (
	unitPing       = "ping"
	unitConnection = "connection"
)

func newSummary(size int) *summary { return &summary{unit: unitPing, size: size, stride: 1} }

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

// verdict is what the pings that were not lost are: without -V their lengths alone are known.
func (s *summary) verdict() string {
	if s.checked {
		return "intact"
	}
	return "came back"
}

// lost is how many did not come back.
func (s *summary) lost() int { return s.sent - s.intact }

func (s *summary) print(w io.Writer) {
	units := plural(s.sent, s.unit, s.unit+"s")
	if s.size > 0 {
		fmt.Fprintf(w, "%d %s of %d %s: %d %s, %d lost\n", s.sent, units, s.size,
			plural(s.size, "byte", "bytes"), s.intact, s.verdict(), s.lost())
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
	unit, in := timeUnit(r.median)
	fmt.Fprintf(w, "%s: min %.1f, median %.1f, p99 %.1f, p99.9 %.1f, max %.1f %s\n",
		what, in(s.min), in(r.median), in(r.p99), in(r.p999), in(s.max), unit)
	if s.elapsed > 0 {
		fmt.Fprintf(w, "rate: %s %ss/s", perSecond(s.rate()), s.unit)
		if s.size > 0 {
			fmt.Fprintf(w, ", %s MB/s each way", megabytes(s.bandwidth()))
			if gbit := s.bandwidth() * 8 / 1000; gbit >= 0.1 {
				fmt.Fprintf(w, " (%.1f Gbit/s)", gbit)
			}
		}
		fmt.Fprintln(w)
	}
}

// timeUnit is the unit for times of about d, and how many of it a time is: times beside one
// another are in one unit.
func timeUnit(d time.Duration) (name string, in func(time.Duration) float64) {
	per := func(unit time.Duration) func(time.Duration) float64 {
		return func(d time.Duration) float64 { return float64(d) / float64(unit) }
	}
	switch {
	case d < 10*time.Millisecond:
		return "us", per(time.Microsecond)
	case d < 10*time.Second:
		return "ms", per(time.Millisecond)
	}
	return "s", per(time.Second)
}

// perSecond prints a rate, a slow one with some digits.
func perSecond(n float64) string {
	if n < 10 {
		return fmt.Sprintf("%.2f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

// megabytes prints a number of 10^6 bytes, in a second.
func megabytes(n float64) string {
	if n < 10 {
		return fmt.Sprintf("%.3f", n)
	}
	return fmt.Sprintf("%.1f", n)
}

// micros prints a duration in microseconds, the unit of the field, or in larger ones if it
// is long.
func micros(d time.Duration) string {
	unit, in := timeUnit(d)
	return fmt.Sprintf("%.1f %s", in(d), unit)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"

	"catmint/libos"
)

// report is a run for scripts, one line of JSON. Times are in microseconds.
type report struct {
	Mode       mode     `json:"mode"`
	Protocol   protocol `json:"protocol,omitempty"`
	Local      string   `json:"local,omitempty"`
	Remote     string   `json:"remote,omitempty"`
	Device     string   `json:"device,omitempty"`
	Conns      int      `json:"connections,omitempty"`
	Size       int      `json:"size"` // bytes of a ping
	Sent       int      `json:"sent"`
	Intact     int      `json:"intact"`
	Validated  bool     `json:"validated"` // else only lengths were compared
	Lost       int      `json:"lost"`
	Seconds    float64  `json:"seconds"`
	Rate       float64  `json:"per_second"`
	Bandwidth  float64  `json:"megabytes_per_second"` // each way
	RoundTrips *times   `json:"microseconds,omitempty"`
	Error      string   `json:"error,omitempty"`
}

type times struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	P999   float64 `json:"p99_9"`
	Max    float64 `json:"max"`
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// report prints a run over connections of d, and returns err.
func (t *task) report(s *summary, d dialer, c conn, err error) error {
	return t.reportInfo(s, d.protocol(), c.Info(), err)
}

func (t *task) reportInfo(s *summary, p protocol, i libos.Info, err error) error {
	if !t.opts.json {
		s.print(t.out)
		if t.opts.histogram {
			printHistogram(t.out, s.samples)
		}
		return err
	}
	r := report{
		Mode: t.opts.mode, Protocol: p, Local: i.Local.String(), Remote: i.Remote.String(), Device: i.Device,
		Conns: t.opts.connections, Size: s.size, Sent: s.sent, Intact: s.intact, Validated: s.checked, Lost: s.lost(),
		Seconds: s.elapsed.Seconds(), Rate: s.rate(), Bandwidth: s.bandwidth(),
	}
	if s.intact > 0 {
		k := s.ranked()
		r.RoundTrips = &times{us(s.min), us(k.median), us(k.p99), us(k.p999), us(s.max)}
	}
	return t.encode(r, err)
}

// reportFailure is the report of a run that never began.
func (t *task) reportFailure(err error) error {
	if !t.opts.json {
		return err
	}
	return t.encode(report{Mode: t.opts.mode, Remote: t.addr.String(), Size: t.opts.size}, err)
}

func (t *task) encode(r report, err error) error {
	if err != nil {
		r.Error = describe(err)
	}
	return errors.Join(err, json.NewEncoder(t.out).Encode(r))
}

// histogramWidth is the length of the longest bar in characters.
const histogramWidth = 50

// printHistogram draws how many of the sorted round trips took how long, each bar's limit
// being twice that of the one before, in the unit of the summary.
func printHistogram(w io.Writer, samples []time.Duration) {
	if len(samples) == 0 {
		return
	}
	var counts [64]int
	first, last, most := len(counts), 0, 0
	unit, in := timeUnit(quantile(samples, 0.5))
	for _, d := range samples {
		b := bits.Len64(uint64(max(d, 1)) / 1000) // below 1 us, 2 us, 4 us, ...
		counts[b]++
		first, last, most = min(first, b), max(last, b), max(most, counts[b])
	}
	for b := first; b <= last; b++ {
		bar := (counts[b]*histogramWidth + most - 1) / most
		line := fmt.Sprintf("  < %8.1f %s %9d  %s", in(time.Duration(1000<<b)), unit, counts[b], strings.Repeat("#", bar))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

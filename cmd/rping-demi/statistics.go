package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"catmint/libos"
	"catmint/libos/connfsm"
	"catmint/rdma"
)

// counting is what counts: a process, or the connector of rping's protocol.
type counting interface {
	Stats() libos.Stats
}

// recorder prints what was counted, from the start of a run. A nil recorder does nothing.
type recorder struct {
	out  io.Writer
	json bool

	mu     sync.Mutex
	live   []counting
	ended  libos.Stats
	before map[port]map[string]uint64 // hardware counters
}

// port is a port of a device.
type port struct {
	device string
	number int
}

// newRecorder begins to record, and to listen for SIGUSR1, until stop is called.
func newRecorder(t *task) (r *recorder, stop func()) {
	if !t.opts.stats {
		return nil, func() {}
	}
	r = &recorder{out: t.out, json: t.opts.json, before: hardwareCounters(t.fabric)}
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		defer close(done)
		for range signals {
			_ = r.print(t.fabric) // the next one says if there is nowhere to print
		}
	}()
	return r, func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

func (r *recorder) add(c counting) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = append(r.live, c)
}

// remove keeps what c has counted. c has been closed: what it has now counts no more.
func (r *recorder) remove(c counting) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.live, c); i >= 0 {
		r.live = slices.Delete(r.live, i, i+1)
		r.ended.Add(c.Stats())
	}
}

func (r *recorder) total() libos.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum libos.Stats
	sum.Add(r.ended)
	for _, c := range r.live {
		sum.Add(c.Stats())
	}
	return sum
}

// hardwareCounters reads the counters of every device, other programs' traffic included;
// nothing for a simulation.
func hardwareCounters(f rdma.Fabric) map[port]map[string]uint64 {
	out := map[port]map[string]uint64{}
	if _, ok := f.(*rdma.Hardware); !ok {
		return out
	}
	devices, err := f.Devices()
	if err != nil {
		return out // the run itself says so
	}
	for _, d := range devices {
		for n := 1; n <= d.NumPorts; n++ {
			if c, err := rdma.HWCounters(d.Name, n); err == nil {
				out[port{d.Name, n}] = c
			}
		}
	}
	return out
}

// statistic is a line of numbers about one thing.
type statistic struct {
	name   string
	counts []countOf
}

type countOf struct {
	name  string
	value uint64
}

// statistics are the counters of a run in the order in which they are printed.
func statistics(s libos.Stats) []statistic {
	connects := []countOf{{"begun", s.Started}, {"established", s.Connects}, {"tried again", s.Retries}, {"probes", s.Probes}}
	for _, e := range slices.Sorted(maps.Keys(s.Failures)) {
		connects = append(connects, countOf{"failed with " + connfsm.ErrnoName(e), s.Failures[e]})
	}
	requests := []countOf{{"came in", s.Requests}, {"established", s.Accepts}, {"lost", s.Lost}, {"probes", s.Probed}}
	for _, r := range slices.Sorted(maps.Keys(s.Refusals)) {
		requests = append(requests, countOf{"refused: " + r.String(), s.Refusals[r]})
	}
	t := s.Traffic
	return []statistic{
		{"connects", connects},
		{"requests", requests},
		{"connections", []countOf{{"open", s.Connections}}},
		{"messages", []countOf{{"pushed", t.Pushes}, {"popped", t.Pops}, {"waiting", t.Waiting}, {"sent inline", t.InlineSends}}},
		{"bytes", []countOf{{"sent", t.BytesOut}, {"received", t.BytesIn}}},
		{"large messages", []countOf{{"sent", t.LargeOut}, {"received", t.LargeIn}, {"RDMA READs", t.Reads}}},
		{"frames", []countOf{{"sent", t.FramesOut}, {"received", t.FramesIn}}},
		{"bare CREDITs", []countOf{{"sent", t.CreditsOut}, {"received", t.CreditsIn}}},
		{"posts", []countOf{{"sends", t.PostSends}, {"receives", t.PostRecvs}}},
		{"trouble", []countOf{{"unexpected events", s.Unexpected}, {"leaks", s.Leaks}, {"RNR failures", t.RNREvents}}},
	}
}

// deviceStatistics are the hardware counters that have changed.
func deviceStatistics(before, now map[port]map[string]uint64) []statistic {
	var out []statistic
	ports := slices.SortedFunc(maps.Keys(now), func(a, b port) int {
		if n := strings.Compare(a.device, b.device); n != 0 {
			return n
		}
		return a.number - b.number
	})
	for _, p := range ports {
		line := statistic{name: fmt.Sprintf("%s port %d", p.device, p.number)}
		for _, name := range slices.Sorted(maps.Keys(now[p])) {
			if n := now[p][name] - before[p][name]; n != 0 {
				line.counts = append(line.counts, countOf{name, n})
			}
		}
		if len(line.counts) > 0 {
			out = append(out, line)
		}
	}
	return out
}

const modeStatistics mode = "statistics" // in reports

// print prints all that was counted so far, in one piece.
func (r *recorder) print(f rdma.Fabric) error {
	if r == nil {
		return nil
	}
	lines := append(statistics(r.total()), deviceStatistics(r.before, hardwareCounters(f))...)
	if r.json {
		report := map[string]any{"mode": modeStatistics}
		for _, l := range lines {
			counts := map[string]uint64{}
			for _, c := range l.counts {
				counts[key(c.name)] = c.value
			}
			report[key(l.name)] = counts
		}
		return json.NewEncoder(r.out).Encode(report)
	}
	var b strings.Builder
	b.WriteString("statistics:\n")
	for _, l := range lines {
		var counts []string
		for _, c := range l.counts {
			counts = append(counts, fmt.Sprintf("%s %d", c.name, c.value))
		}
		fmt.Fprintf(&b, "  %-15s %s\n", l.name, strings.Join(counts, ", "))
	}
	_, err := io.WriteString(r.out, b.String())
	return err
}

// key is a name as scripts have it.
func key(name string) string {
	return strings.NewReplacer(" ", "_", ":", "", "'", "").Replace(name)
}

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// meterEvery is how often a running count is shown.
const meterEvery = time.Second

// meter shows, on a terminal, how far a run of more than a second has come, in one line and
// over all its connections. A nil meter shows nothing.
type meter struct {
	term  *terminal
	unit  string // what is counted
	size  int    // bytes of one, 0 if they have none
	begin time.Time

	mu       sync.Mutex
	used     bool
	done     int
	min, max time.Duration
	last     time.Time // shown, or the beginning
	lastDone int
}

// newMeter counts units of size bytes; term is nil where there is no terminal.
func newMeter(term *terminal, unit string, size int) *meter {
	if term == nil {
		return nil
	}
	now := time.Now()
	return &meter{term: term, unit: unit, size: size, begin: now, last: now}
}

// add counts one more, and shows the count if it is time to.
func (m *meter) add(took time.Duration) {
	if m == nil {
		return
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done == 0 || took < m.min {
		m.min = took
	}
	m.max = max(m.max, took)
	m.done++
	if now.Sub(m.last) >= meterEvery {
		m.show(now)
	}
}

// show shows the count, the rate since it was last shown, and the extremes. Locked.
func (m *meter) show(now time.Time) {
	rate := float64(m.done-m.lastDone) / now.Sub(m.last).Seconds()
	fields := []string{
		fmt.Sprintf("%.0f s: %d %s", now.Sub(m.begin).Seconds(), m.done, plural(m.done, m.unit, m.unit+"s")),
		perSecond(rate) + "/s",
	}
	if m.size > 0 {
		fields = append(fields, megabytes(rate*float64(m.size)/1e6)+" MB/s")
	}
	fields = append(fields, "min "+micros(m.min), "max "+micros(m.max))
	fmt.Fprintf(m.term, "\r\x1b[K%s", fitted(fields, m.term.columns()))
	m.last, m.lastDone, m.used = now, m.done, true
}

// fitted joins as many fields, and at least a part of the first, as go into one line of a
// terminal without wrapping.
func fitted(fields []string, columns int) string {
	line := fields[0][:min(len(fields[0]), columns-1)]
	for _, f := range fields[1:] {
		if longer := line + ", " + f; len(longer) < columns {
			line = longer
			continue
		}
		break
	}
	return line
}

// clear takes what was shown away.
func (m *meter) clear() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used {
		fmt.Fprint(m.term, "\r\x1b[K")
	}
}

// terminal is where somebody watches.
type terminal struct {
	io.Writer
	columns func() int // may change
}

// A terminal that does not say how wide it is.
const usualColumns = 80

// helpColumns is how wide help may be on w: as wide as a terminal, in reason.
func helpColumns(w io.Writer) int {
	if term := terminalOf(w); term != nil {
		return max(60, min(term.columns(), 100))
	}
	return usualColumns
}

// terminalOf is w if it is a terminal, else nil.
func terminalOf(w io.Writer) *terminal {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return &terminal{f, func() int {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Col < 2 {
			return usualColumns
		}
		return int(size.Col)
	}}
}

// lineWriter writes whole lines for one of several goroutines.
type lineWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

// Write implements io.Writer.
func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

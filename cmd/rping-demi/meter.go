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

// meter shows, on a terminal, how far a run of more than a second has come. A nil meter
// shows nothing.
type meter struct {
	w    io.Writer
	mu   sync.Mutex
	next time.Time
	used bool
}

// newMeter shows on w, which is nil where there is no terminal.
func newMeter(w io.Writer) *meter {
	if w == nil {
		return nil
	}
	return &meter{w: w, next: time.Now().Add(meterEvery)}
}

// show shows a summary if it is time to.
func (m *meter) show(s *summary) {
	if m == nil {
		return
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Before(m.next) {
		return
	}
	m.next, m.used = now.Add(meterEvery), true
	fmt.Fprintf(m.w, "\r\x1b[K%d %s, the shortest %s, the longest %s",
		s.intact, plural(s.intact, s.unit, s.unit+"s"), micros(s.min), micros(s.max))
}

// clear takes what was shown away.
func (m *meter) clear() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

// terminalOf is w if it is a terminal, else nil.
func terminalOf(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return f
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

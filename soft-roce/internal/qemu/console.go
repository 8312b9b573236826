package qemu

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// consoleKeep is how much of a guest's console is kept, in bytes: enough for the trace of a crash.
const consoleKeep = 256 << 10

// Console keeps the end of what a guest wrote on its console.
type Console struct {
	mu   sync.Mutex
	data []byte
	n    int // bytes written so far
	tee  io.Writer
	done chan struct{}
}

// newConsole collects from r until it ends. tee gets a copy if it is not nil.
func newConsole(r io.Reader, tee io.Writer) *Console {
	c := &Console{tee: tee, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		_, _ = io.Copy(c, r)
	}()
	return c
}

// Write takes what the guest wrote.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += len(p)
	c.data = append(c.data, p...)
	if extra := len(c.data) - consoleKeep; extra > 0 {
		c.data = append(c.data[:0], c.data[extra:]...)
	}
	if c.tee != nil {
		// A user who cannot be written to any more is no reason to stop.
		_, _ = c.tee.Write(p)
	}
	return len(p), nil
}

// Written returns how many bytes the guest has written on its console.
func (c *Console) Written() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// End waits until all that the guest wrote is there, up to limit: somebody else may hold the other
// end. It is for a machine that has ended, or is about to.
func (c *Console) End(limit time.Duration) {
	select {
	case <-c.done:
	case <-time.After(limit):
	}
}

// Text returns what the console has shown, without carriage returns and with the terminal's control
// sequences taken out.
func (c *Console) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return clean(c.data)
}

// clean drops what only a terminal understands: SeaBIOS clears the screen before it speaks.
func clean(data []byte) string {
	var b bytes.Buffer
	for i := 0; i < len(data); i++ {
		switch ch := data[i]; {
		case ch == 0x1b:
			i = skipEscape(data, i)
		case ch == '\n' || ch == '\t' || ch >= ' ' && ch != 0x7f:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// skipEscape returns the index of the last byte of the control sequence that starts at i (ECMA-48:
// ESC [ parameters final, where final is the first byte from '@' on; otherwise ESC and one byte).
func skipEscape(data []byte, i int) int {
	if i+1 >= len(data) || data[i+1] != '[' {
		return i + 1
	}
	for i += 2; i < len(data) && (data[i] < '@' || data[i] > '~'); i++ {
	}
	return i
}

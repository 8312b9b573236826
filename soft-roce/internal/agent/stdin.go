package agent

import (
	"io"
	"os"
	"sync"
)

// stdinQueue feeds a command's standard input without ever holding the connection up: a command
// that does not read must not keep its own signals from arriving.
type stdinQueue struct {
	mu     sync.Mutex
	cond   *sync.Cond
	chunks [][]byte
	closed bool
}

func newStdinQueue(w io.WriteCloser) *stdinQueue {
	q := &stdinQueue{}
	q.cond = sync.NewCond(&q.mu)
	go q.feed(w)
	return q
}

// put appends a chunk; an empty one ends the input, and whatever follows is ignored.
func (q *stdinQueue) put(chunk []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return
	case len(chunk) == 0:
		q.closed = true
	default:
		q.chunks = append(q.chunks, chunk)
	}
	q.cond.Signal()
}

func (q *stdinQueue) feed(w io.WriteCloser) {
	defer w.Close()
	for {
		q.mu.Lock()
		for len(q.chunks) == 0 && !q.closed {
			q.cond.Wait()
		}
		if len(q.chunks) == 0 {
			q.mu.Unlock()
			return
		}
		chunk := q.chunks[0]
		q.chunks = q.chunks[1:]
		q.mu.Unlock()
		if _, err := w.Write(chunk); err != nil {
			q.put(nil) // the command no longer reads
		}
	}
}

// nopCloser keeps the end of input from closing a terminal, which is one file for both directions.
type nopCloser struct{ *os.File }

func (nopCloser) Close() error { return nil }

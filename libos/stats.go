package libos

import (
	"sync"
	"sync/atomic"
	"syscall"
)

// Stats counts what the control plane of a process has done.
type Stats struct {
	Connects   uint64                   // connects that were established
	Accepts    uint64                   // connections that were accepted by CM
	Failures   map[syscall.Errno]uint64 // connects that failed, by errno
	Refused    uint64                   // requests refused because a backlog was full
	BadHellos  uint64                   // requests refused for their private data
	Unexpected uint64                   // events that should not have come
	Leaks      uint64                   // objects that could not be destroyed
}

type stats struct {
	connects, accepts, refused, badHellos, unexpected, leaks atomic.Uint64

	mu       sync.Mutex
	failures map[syscall.Errno]uint64
}

func (s *stats) fail(err syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == nil {
		s.failures = map[syscall.Errno]uint64{}
	}
	s.failures[err]++
}

func (s *stats) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := make(map[syscall.Errno]uint64, len(s.failures))
	for k, v := range s.failures {
		f[k] = v
	}
	return Stats{
		Connects: s.connects.Load(), Accepts: s.accepts.Load(), Failures: f, Refused: s.refused.Load(),
		BadHellos: s.badHellos.Load(), Unexpected: s.unexpected.Load(), Leaks: s.leaks.Load(),
	}
}

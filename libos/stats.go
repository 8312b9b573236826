package libos

import (
	"maps"
	"sync"
	"sync/atomic"
	"syscall"

	"catmint/datapath"
	"catmint/libos/hello"
	"catmint/rdma"
)

// Stats counts what a process, one of its engines or a Connector has done since it was made.
// Reading them takes a connection's engine's lock for the time of a copy, connection after
// connection, and costs the data plane nothing otherwise.
type Stats struct {
	Started    uint64                   // connects begun
	Connects   uint64                   // connects that were established
	Failures   map[syscall.Errno]uint64 // connects that failed, by errno
	Retries    uint64                   // steps of connects that were tried again
	Requests   uint64                   // connection requests that came in
	Accepts    uint64                   // connections that were accepted by CM
	Lost       uint64                   // requests accepted that were never established
	Refusals   map[hello.Reason]uint64  // requests refused, by the reason that the peer was told
	Refused    uint64                   // requests refused because a backlog was full, or by a gate
	BadHellos  uint64                   // requests refused for their private data
	Probes     uint64                   // connects that asked which protocol a peer speaks, and were told: no failures
	Probed     uint64                   // requests that asked so, and were told: no refusals
	Unexpected uint64                   // events that should not have come
	Leaks      uint64                   // objects that could not be destroyed

	// Connections is how many there are now, those being set up or torn down included.
	Connections uint64
	// Traffic sums up all connections of sockets, those that are gone included. What goes
	// over a RawConn is its owner's to count.
	Traffic datapath.ConnStats
}

// Add adds what another engine or Connector has counted.
func (s *Stats) Add(o Stats) {
	s.Started += o.Started
	s.Connects += o.Connects
	s.Retries += o.Retries
	s.Requests += o.Requests
	s.Accepts += o.Accepts
	s.Lost += o.Lost
	s.Refused += o.Refused
	s.BadHellos += o.BadHellos
	s.Probes += o.Probes
	s.Probed += o.Probed
	s.Unexpected += o.Unexpected
	s.Leaks += o.Leaks
	s.Connections += o.Connections
	s.Traffic.Add(o.Traffic)
	addMap(&s.Failures, o.Failures)
	addMap(&s.Refusals, o.Refusals)
}

func addMap[K comparable](to *map[K]uint64, from map[K]uint64) {
	if *to == nil {
		*to = map[K]uint64{}
	}
	for k, v := range from {
		(*to)[k] += v
	}
}

// stats are the counters of a driver. Any goroutine may use them.
type stats struct {
	started, connects, retries, requests, accepts, lost atomic.Uint64
	refused, badHellos, unexpected, leaks               atomic.Uint64
	probes, probed                                      atomic.Uint64
	conns                                               atomic.Int64 // all there are

	mu       sync.Mutex
	failures map[syscall.Errno]uint64
	refusals map[hello.Reason]uint64
	live     map[*dataEndpoint]struct{} // those in the data plane: their dp is valid
	gone     datapath.ConnStats         // of those that have left it
	devices  map[rdma.Device]struct{}   // that any has used, unless it was removed
}

func newStats() *stats {
	return &stats{
		failures: map[syscall.Errno]uint64{}, refusals: map[hello.Reason]uint64{},
		live: map[*dataEndpoint]struct{}{}, devices: map[rdma.Device]struct{}{},
	}
}

func (s *stats) fail(err syscall.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[err]++
}

func (s *stats) refuse(r hello.Reason) {
	if r == hello.ReasonProbed {
		s.probed.Add(1)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[r]++
}

// use remembers a device, whose counters are of interest.
func (s *stats) use(d rdma.Device) {
	if d == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices[d] = struct{}{}
}

// used are the devices that are in use, or have been, and are still there.
func (s *stats) used() []rdma.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []rdma.Device
	for d := range s.devices {
		select {
		case <-d.Removed():
			delete(s.devices, d)
		default:
			out = append(out, d)
		}
	}
	return out
}

// attach counts the traffic of d from now on.
func (s *stats) attach(d *dataEndpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[d] = struct{}{}
}

// detach keeps what d has counted and has f destroy its half of the data plane, during which
// nobody reads it.
func (s *stats) detach(d *dataEndpoint, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, d)
	if last, err := d.dp.Stats(); err == nil {
		s.gone.AddCounts(last)
	}
	return f()
}

func (s *stats) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{
		Started: s.started.Load(), Connects: s.connects.Load(), Failures: maps.Clone(s.failures),
		Retries: s.retries.Load(), Requests: s.requests.Load(), Accepts: s.accepts.Load(), Lost: s.lost.Load(),
		Refusals: maps.Clone(s.refusals), Refused: s.refused.Load(), BadHellos: s.badHellos.Load(),
		Probes: s.probes.Load(), Probed: s.probed.Load(),
		Unexpected: s.unexpected.Load(), Leaks: s.leaks.Load(),
		Connections: uint64(s.conns.Load()), Traffic: s.gone,
	}
	for d := range s.live {
		if now, err := d.dp.Stats(); err == nil {
			out.Traffic.Add(now)
		}
	}
	return out
}

// ConnectionStats describes one connection of a socket and what it has done.
type ConnectionStats struct {
	Engine uint32
	QD     int32 // the socket's descriptor
	Info   Info  // without its GID
	Counts datapath.ConnStats
}

// connections describes those that are in the data plane.
func (s *stats) connections() []ConnectionStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ConnectionStats
	for d := range s.live {
		if now, err := d.dp.Stats(); err == nil {
			out = append(out, ConnectionStats{d.e.dp.Index(), d.qd, d.c.info.plain(), now})
		}
	}
	return out
}

// Stats counts what the engine has done.
func (e *Engine) Stats() Stats { return e.stats.snapshot() }

// Connections describes the engine's connections in no order: those of sockets, from when
// their queue pair exists until it is released.
func (e *Engine) Connections() []ConnectionStats { return e.stats.connections() }

// Stats sums up what the process's engines have done, those that have ended included.
func (p *Process) Stats() Stats {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var sum Stats
	sum.Add(p.ended)
	for _, e := range p.engines {
		sum.Add(e.Stats())
	}
	return sum
}

// Connections describes the connections of all engines.
func (p *Process) Connections() []ConnectionStats {
	var out []ConnectionStats
	for _, e := range p.Engines() {
		out = append(out, e.Connections()...)
	}
	return out
}

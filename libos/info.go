package libos

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"catmint/rdma"
)

// Phases are the moments of a connection's set-up; the zero time for what has not
// happened. On the accepting side AddrResolved and RouteResolved stay zero.
type Phases struct {
	Started       time.Time // connect was called, or the request came in
	AddrResolved  time.Time
	QPCreated     time.Time // queue pair made; zero for a RawConn, and for one from the pool
	QPReady       time.Time // and every receive posted
	RouteResolved time.Time // after AddrResolved; before or after the two above
	Sent          time.Time // rdma_connect, or rdma_accept, was called
	Established   time.Time // RDMA_CM_EVENT_ESTABLISHED
	Ready         time.Time // the data plane has taken over; the token completes
}

// Info describes a socket's connection, or the attempt to make one.
type Info struct {
	Local, Remote netip.AddrPort
	Device        string  // RDMA device, such as rxe0; "" while none was chosen
	Port          int     // of the device, from 1
	GID           string  // that stands for the local address, "" if unknown
	QPNum         uint32  // 0 while there is none
	Phases        Phases  // of the last try
	Retries       []Retry // what had to be tried again, oldest first
}

// Retry is a step of a connect that failed and was tried again.
type Retry struct {
	At     time.Time // when it had failed
	Phase  string    // what had been under way, such as "resolving the address"
	Detail string    // what the connection manager or the peer said
}

type phase int

const (
	phaseStarted phase = iota
	phaseAddrResolved
	phaseQPCreated
	phaseQPReady
	phaseRouteResolved
	phaseSent
	phaseEstablished
	phaseReady
)

// connInfo is written by the loop and read by anybody.
type connInfo struct {
	mu  sync.Mutex
	cur Info
	dev rdma.Device
}

// mark notes that a phase has been reached, by the monotonic clock alone after the first one.
func (i *connInfo) mark(p phase) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.cur.Phases.Started
	if now.IsZero() {
		now = time.Now()
	} else {
		now = now.Add(time.Since(now))
	}
	t := [...]*time.Time{
		phaseStarted: &i.cur.Phases.Started, phaseAddrResolved: &i.cur.Phases.AddrResolved,
		phaseQPCreated: &i.cur.Phases.QPCreated, phaseQPReady: &i.cur.Phases.QPReady,
		phaseRouteResolved: &i.cur.Phases.RouteResolved, phaseSent: &i.cur.Phases.Sent,
		phaseEstablished: &i.cur.Phases.Established, phaseReady: &i.cur.Phases.Ready,
	}[p]
	if t.IsZero() {
		*t = now
	}
}

// retry keeps what failed. A queue pair that was made already is made anew, and with it all
// that came before it.
func (i *connInfo) retry(phase, detail string) {
	now := time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cur.Retries = append(i.cur.Retries, Retry{now, phase, detail})
	if !i.cur.Phases.Sent.IsZero() {
		i.cur.Phases = Phases{Started: i.cur.Phases.Started}
	}
}

// plain is what costs no system call.
func (i *connInfo) plain() Info {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := i.cur
	out.Retries = slices.Clone(out.Retries)
	return out
}

func (i *connInfo) setDevice(id rdma.ID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.dev = id.Device()
	i.cur.Port = id.Port()
	i.cur.Local, i.cur.Remote = id.LocalAddr(), id.RemoteAddr()
	if i.dev != nil {
		i.cur.Device = i.dev.Name()
	}
}

func (i *connInfo) setAddrs(id rdma.ID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cur.Local, i.cur.Remote = id.LocalAddr(), id.RemoteAddr()
}

func (i *connInfo) setRemote(addr netip.AddrPort) {
	i.mu.Lock()
	i.cur.Remote = addr
	i.mu.Unlock()
}

func (i *connInfo) setQP(num uint32) {
	i.mu.Lock()
	i.cur.QPNum = num
	i.mu.Unlock()
}

func (i *connInfo) deviceName() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cur.Device
}

// sent is when rdma_connect or rdma_accept was called.
func (i *connInfo) sent() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cur.Phases.Sent
}

func (i *connInfo) addrs() (local, remote netip.AddrPort) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cur.Local, i.cur.Remote
}

// get completes what costs a system call only for those who ask.
func (i *connInfo) get() Info {
	out := i.plain()
	i.mu.Lock()
	dev := i.dev
	i.mu.Unlock()
	if dev == nil || !out.Local.IsValid() || out.Port == 0 {
		return out
	}
	gids, err := dev.GIDs(out.Port)
	if err != nil {
		return out
	}
	for _, g := range gids {
		if g.Addr() == out.Local.Addr().Unmap().WithZone("") {
			out.GID = g.String()
			break
		}
	}
	return out
}

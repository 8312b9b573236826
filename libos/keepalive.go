package libos

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/internal/background"
)

// A reliable connection notices a dead peer when it sends, after some 20 s of retries, and an
// idle one never does. So keepalive is on unless somebody says otherwise, within a time of the
// same order.
const (
	defaultKeepAlive = 30 * time.Second
	minKeepAlive     = 10 * time.Millisecond
)

// keepAlive is what SO_KEEPALIVE and its companions say, in the terms of tcp(7). The transport
// repeats what is lost, so a peer that has been silent for idle is asked once, and has interval
// times count to answer.
type keepAlive struct {
	on             bool
	idle, interval time.Duration
	count          int32
	user           time.Duration // TCP_USER_TIMEOUT: the whole time, 0: idle and the answer's
}

// newKeepAlive has a peer count as dead after d of silence, or never.
func newKeepAlive(d time.Duration) keepAlive {
	on := d > 0
	if !on {
		d = defaultKeepAlive
	}
	return keepAlive{on: on, idle: d / 3, interval: d / 6, count: 4}
}

// times are the silence after which a peer is asked, and after which it counts as dead; 0: never.
func (k *keepAlive) times() (idle, limit time.Duration) {
	if !k.on {
		return 0, 0
	}
	idle, limit = k.idle, k.idle+k.interval*time.Duration(k.count)
	if k.user != 0 {
		limit = max(k.user, minKeepAlive)
		idle = min(idle, limit/2)
	}
	return idle, limit
}

// keepOption is one of the options: its bounds, and how it is kept and told.
type keepOption struct {
	low, high int32
	set       func(k *keepAlive, v int32)
	get       func(k *keepAlive) int32
}

// seconds rounds up: a time below a second is not told as none.
func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }

// The bounds are those of Linux's tcp(7).
var keepOptions = map[optKey]keepOption{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}: {
		math.MinInt32, math.MaxInt32,
		func(k *keepAlive, v int32) { k.on = v != 0 },
		func(k *keepAlive) int32 { return boolInt(k.on) },
	},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}: {
		1, 32767,
		func(k *keepAlive, v int32) { k.idle = time.Duration(v) * time.Second },
		func(k *keepAlive) int32 { return seconds(k.idle) },
	},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}: {
		1, 32767,
		func(k *keepAlive, v int32) { k.interval = time.Duration(v) * time.Second },
		func(k *keepAlive) int32 { return seconds(k.interval) },
	},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}: {
		1, 127,
		func(k *keepAlive, v int32) { k.count = v },
		func(k *keepAlive) int32 { return k.count },
	},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: {
		0, math.MaxInt32,
		func(k *keepAlive, v int32) { k.user = time.Duration(v) * time.Millisecond },
		func(k *keepAlive) int32 { return int32(k.user / time.Millisecond) },
	},
}

// SetKeepAlive sets how long the peer may be silent before it counts as dead, and everything
// outstanding ends with ETIMEDOUT: after idle it is asked, and limit is the whole time; both
// hold to a quarter of the shorter part. limit 0: silent for ever. Before Listen it is for the
// connections that are accepted. EINVAL: idle is not below limit, or limit is below 10 ms.
func (s *Socket) SetKeepAlive(idle, limit time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.alive(); err != nil {
		return err
	}
	if limit == 0 {
		s.opts.keep.on = false
		s.keepAliveChanged()
		return nil
	}
	if idle <= 0 || limit < minKeepAlive || idle >= limit {
		return unix.EINVAL
	}
	s.opts.keep = keepAlive{on: true, idle: idle, interval: limit - idle, count: 1}
	s.keepAliveChanged()
	return nil
}

func (s *Socket) keepAliveTimes() (idle, limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts.keep.times()
}

// keepAliveChanged applies the options to the connection, if there is one already.
func (s *Socket) keepAliveChanged() {
	s.e.loop.post(func() {
		if s.conn == nil {
			return
		}
		if ep, ok := s.conn.ep.(*dataEndpoint); ok && ep.dp != nil {
			if err := ep.keepAlive(); err != nil {
				s.e.log.Error("set keepalive", "qd", s.qd, "err", err)
			}
		}
	})
}

// keeper is an engine's one timer for keepalive: as coarse as the shortest time of a connection
// lets it be, and at rest while no connection has one.
type keeper struct {
	dp *datapath.Engine

	mu      sync.Mutex
	timer   *time.Timer
	every   time.Duration // 0: at rest
	last    time.Time
	stopped bool
}

// want has the engine ticked at least this often; 0: nobody needs it.
func (k *keeper) want(every time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped || every == 0 || k.every != 0 && k.every <= every {
		return
	}
	if k.every == 0 {
		k.last = time.Now()
	}
	k.every = every
	if k.timer == nil {
		k.timer = background.After(every, "keepalive", k.tick)
		return
	}
	k.timer.Reset(every)
}

func (k *keeper) tick() {
	background.Checkpoint("keepalive")
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped || k.every == 0 {
		return
	}
	now := time.Now()
	// Time in which this process did not run is nobody's silence.
	elapsed := min(now.Sub(k.last), k.every)
	k.last = now
	k.every = k.dp.Tick(elapsed)
	if k.every != 0 {
		k.timer.Reset(k.every)
	}
}

func (k *keeper) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = true
	if k.timer != nil {
		k.timer.Stop()
	}
}

package libos

import (
	"cmp"
	"container/list"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"catmint/internal/background"
	"catmint/libos/connfsm"
	"catmint/libos/hello"
	"catmint/rdma"
)

// endpoint is the part of a connection that is not connection management: its queue pair,
// what is said in private data, and what consumes it once it is established. create runs
// on a worker, everything else on the loop.
type endpoint interface {
	// pooled gives the id a queue pair that was made ahead, with receives posted, if it can.
	pooled(id rdma.ID) bool
	// create makes a queue pair and posts its receives; either both or neither. adopt
	// follows it and gives the queue pair to the id; on an error it is released.
	create(id rdma.ID) error
	adopt(id rdma.ID) error
	// request is what rdma_connect says.
	request(id rdma.ID) rdma.ConnParam
	// answer judges what the peer's accept said, reply is what rdma_accept says.
	answer(ev rdma.Event) error
	reply(id rdma.ID) rdma.ConnParam
	// sent follows either: the peer has been asked, and it takes a while until it answers.
	sent(id rdma.ID)
	// attach starts the use of the established connection.
	attach(id rdma.ID) error
	// sendFIN and cancelPushes begin and cut a close.
	sendFIN() error
	cancelPushes()
	// progress changes as the peer takes what was sent.
	progress() uint64
	// flush puts the queue pair into the error state; the connection is told Flushed,
	// through its driver, when all work is accounted for.
	flush(err syscall.Errno)
	destroyQP() error
	destroyConn() error
}

// outcome is told what becomes of a connection, on the loop.
type outcome interface {
	connected()               // active: established
	failed(err *ConnectError) // active: it will never be
	ready()                   // passive: established
	gone(err *ConnectError)   // passive: it will never be
	closed()                  // close is done, as far as its caller is concerned
	released()                // everything is released
	open() bool               // nobody has closed it
}

// conn drives the state machine of one connection. All of it belongs to the loop, save
// info, which has its own lock.
type conn struct {
	d   *driver
	fsm connfsm.Conn
	id  rdma.ID
	ep  endpoint
	out outcome
	log *slog.Logger

	bound  netip.AddrPort // local address to bind to, the zero AddrPort for none
	dst    netip.AddrPort // where to connect to
	reuse  bool           // SO_REUSEADDR, for an id made anew
	linger time.Duration
	strict bool   // linger is the application's word: it bounds the whole close
	taken  uint64 // progress when the linger timer was started
	detail string // what CM, the peer or a call said last, for the error message
	cause  error  // the error of a call, nil when detail is somebody else's word
	ousted string // why the library gave it up, "" if nobody but the application closed it
	advice string // what to do about the peer's refusal, "" if its errno says enough

	timers   [connfsm.NumTimers]*time.Timer // but for the deadline's
	deadline time.Duration                  // by uptime
	queued   *list.Element                  // among those with a deadline
	queue    []connfsm.Event
	first    [2]connfsm.Event // of queue, as a rule
	running  bool

	info connInfo
}

func (d *driver) newConn(ep endpoint, out outcome) *conn {
	c := new(conn)
	d.beginConn(c, ep, out)
	return c
}

// beginConn makes a zero conn one of the driver's.
func (d *driver) beginConn(c *conn, ep endpoint, out outcome) {
	c.d, c.ep, c.out, c.log, c.linger = d, ep, out, d.log, d.cfg.Linger
	c.queue = c.first[:0]
	d.conns[c] = struct{}{}
	d.stats.conns.Add(1)
}

// step takes an event, on the loop. An event that an action causes is handled after the
// list of actions that caused it, before events that come from elsewhere.
func (c *conn) step(ev connfsm.Event) {
	c.queue = append(c.queue, ev)
	if c.running {
		return
	}
	c.running = true
	room := c.d.room()
	defer func() {
		c.running = false
		c.d.giveBack(room)
	}()
	for len(c.queue) > 0 {
		ev := c.queue[0]
		c.queue = slices.Delete(c.queue, 0, 1)
		from := c.fsm.State
		next, acts := c.fsm.StepIn(room, ev)
		if next.Pending && !c.fsm.Pending {
			c.d.pending++
		} else if !next.Pending && c.fsm.Pending {
			c.d.pending--
		}
		c.fsm = next
		switch next.State {
		case connfsm.RetryingAddr, connfsm.RetryingRoute, connfsm.FlushingRetry:
			if next.State != from {
				c.d.stats.retries.Add(1)
				c.info.retry(from.Phase(), c.detail)
			}
		default:
		}
		if c.d.debug {
			c.log.Debug("step", "conn", c.name(), "event", ev.String(), "from", from.String(), "to", next.State.String(),
				"actions", fmt.Sprint(acts))
		}
		for _, a := range acts {
			if follow, ok := c.do(a, ev, from); ok {
				c.queue = slices.Insert(c.queue, 0, follow)
				if follow.Kind == connfsm.CallFailed {
					break
				}
			}
		}
	}
}

// do carries one action out. It returns the event that answers it, if there is one now.
func (c *conn) do(a connfsm.Action, ev connfsm.Event, from connfsm.State) (connfsm.Event, bool) {
	var err error
	switch a.Op {
	case connfsm.CreateID:
		err = c.createID()
	case connfsm.ResolveAddr:
		err = c.resolveAddr()
	case connfsm.CreateQP:
		if c.createQP() {
			return connfsm.Event{Kind: connfsm.QPReady}, true
		}
	case connfsm.ResolveRoute:
		err = c.id.ResolveRoute(c.d.cfg.ResolveTimeout)
	case connfsm.ConnectPeer:
		if err = c.id.Connect(c.ep.request(c.id)); err == nil {
			c.info.mark(phaseSent)
		}
		c.ep.sent(c.id)
	case connfsm.AcceptPeer:
		if err = c.id.Accept(c.ep.reply(c.id)); err == nil {
			c.info.mark(phaseSent)
		}
		c.ep.sent(c.id)
	case connfsm.RejectPeer:
		c.reject(a.Err)
	case connfsm.Attach:
		if err = c.ep.attach(c.id); err == nil {
			return connfsm.Event{Kind: connfsm.Attached}, true
		}
	case connfsm.CompleteToken:
		c.info.mark(phaseReady)
		c.d.stats.connects.Add(1)
		c.out.connected()
		c.logSetUp("connected")
	case connfsm.Ready:
		c.info.mark(phaseReady)
		c.d.stats.accepts.Add(1)
		c.out.ready()
		c.logSetUp("accepted")
	case connfsm.FailToken:
		c.failToken(a.Err, connfsm.Phase(from, ev))
	case connfsm.Gone:
		c.d.stats.lost.Add(1)
		ce := c.failure("accept", a.Err, connfsm.Phase(from, ev))
		c.log.Info("connection lost before it was established", "peer", ce.Peer, "phase", ce.Phase, "device", ce.Device,
			"errno", connfsm.ErrnoName(ce.Err), "detail", ce.Detail)
		c.out.gone(ce)
	case connfsm.SendFIN:
		err = c.ep.sendFIN()
	case connfsm.CancelPushes:
		c.ep.cancelPushes()
	case connfsm.Disconnect:
		if derr := c.id.Disconnect(); derr != nil && errno(derr) != syscall.EINVAL && errno(derr) != syscall.ENOTCONN {
			c.log.Debug("disconnect", "conn", c.name(), "err", derr)
		}
	case connfsm.Flush:
		if a.Err != 0 {
			c.log.Debug("connection ends", "conn", c.name(), "errno", connfsm.ErrnoName(a.Err))
		}
		c.ep.flush(a.Err)
	case connfsm.DestroyQP:
		c.complain("destroy queue pair", c.ep.destroyQP())
	case connfsm.DestroyConn:
		c.complain("destroy connection", c.ep.destroyConn())
	case connfsm.DestroyID:
		if c.id != nil {
			c.complain("destroy id", c.d.loop.closeID(c.id))
			c.id = nil
		}
	case connfsm.CompleteClose:
		c.out.closed()
	case connfsm.Release:
		delete(c.d.conns, c)
		c.d.stats.conns.Add(-1)
		c.out.released()
		c.d.connReleased()
	case connfsm.StartTimer:
		c.startTimer(a.Timer)
	case connfsm.StopTimer:
		c.stopTimer(a.Timer)
	case connfsm.Unexpected:
		c.d.stats.unexpected.Add(1)
		c.log.Warn("unexpected event", "conn", c.name(), "event", ev.String(), "state", from.String())
	}
	if err != nil {
		return connfsm.Event{Kind: connfsm.CallFailed, Err: c.blame(err)}, true
	}
	return connfsm.Event{}, false
}

// logSetUp costs nothing unless somebody reads it.
func (c *conn) logSetUp(what string) {
	if c.d.verbose {
		c.log.Info(what, "peer", c.dst.String(), "device", c.deviceName())
	}
}

// blame keeps the error of a call for the message, should the connection fail, and returns its
// errno. On a device that has gone away calls answer EIO, perhaps before CM tells of the removal.
func (c *conn) blame(err error) syscall.Errno {
	c.detail, c.cause = err.Error(), err
	if errno(err) == syscall.EIO && c.id != nil && c.id.Device() != nil {
		select {
		case <-c.id.Device().Removed():
			return syscall.ENODEV
		default:
		}
	}
	return errno(err)
}

func (c *conn) complain(what string, err error) {
	if err != nil {
		c.d.stats.leaks.Add(1)
		c.log.Error(what, "conn", c.name(), "err", err)
	}
}

// createID makes the id, unless bind has made it already, and binds it.
func (c *conn) createID() error {
	if c.id != nil {
		return nil
	}
	id, err := c.d.loop.ch.CreateID()
	if err != nil {
		return err
	}
	if c.reuse {
		err = id.SetReuseAddr(true)
	}
	if c.bound.IsValid() && err == nil {
		err = c.bindID(id)
	}
	if err != nil {
		c.complain("destroy id", id.Close())
		return err
	}
	c.id = id
	c.d.loop.owners[id] = c
	return nil
}

// bindID binds an id. Where one of two addresses is the wildcard, rdma_cm says EADDRNOTAVAIL of a port
// that is in use, too: then the address can be had with another port.
func (c *conn) bindID(id rdma.ID) error {
	err := id.BindAddr(c.bound)
	if err == nil || errno(err) != syscall.EADDRNOTAVAIL || c.bound.Port() == 0 {
		return err
	}
	other, cerr := c.d.loop.ch.CreateID()
	if cerr != nil {
		return err
	}
	if other.BindAddr(netip.AddrPortFrom(c.bound.Addr(), 0)) == nil {
		err = &rdma.OpError{Op: "bind address", Err: syscall.EADDRINUSE}
	}
	c.complain("destroy id", other.Close())
	return err
}

// resolveAddr has the address resolved, and sets meanwhile what the route of a raw connection must
// know: a socket's ACK timeout is its queue pair's, see ConnParam.
func (c *conn) resolveAddr() error {
	if err := c.id.ResolveAddr(netip.AddrPort{}, c.dst, c.d.cfg.ResolveTimeout); err != nil {
		return err
	}
	if _, raw := c.ep.(rawEndpoint); !raw {
		return nil
	}
	// What it is without that is the route's; the peer learns of it from the request.
	if err := c.id.SetAckTimeout(ackTimeout); err != nil {
		c.log.Debug("set the ACK timeout", "conn", c.name(), "err", err)
	}
	return nil
}

// createQP takes a queue pair from the pool, or has a worker make one: then the answer comes
// later, and the id is the worker's until it does, but for its route.
func (c *conn) createQP() (ready bool) {
	id := c.id
	c.info.setDevice(id)
	c.d.stats.use(id.Device())
	if c.ep.pooled(id) {
		c.info.mark(phaseQPReady)
		return true
	}
	c.d.work(func() {
		err := c.ep.create(id)
		c.d.loop.do(func() {
			if err == nil {
				err = c.ep.adopt(id)
			}
			if err != nil {
				c.step(connfsm.Event{Kind: connfsm.QPFailed, Err: c.blame(err)})
				return
			}
			c.info.mark(phaseQPReady)
			c.step(connfsm.Event{Kind: connfsm.QPReady})
		})
	})
	return false
}

// failToken ends a connect without a connection. Of a probe, which raw connections alone send,
// that is the answer, and no failure.
func (c *conn) failToken(err syscall.Errno, phase string) {
	ce := c.failure("connect", err, phase)
	if _, raw := c.ep.(rawEndpoint); raw && err == syscall.EPROTOTYPE {
		c.d.stats.probes.Add(1)
		c.log.Info("probe answered", "peer", ce.Peer, "device", ce.Device, "detail", ce.Detail)
	} else {
		c.d.stats.fail(err)
		c.log.Warn("connect failed", "peer", ce.Peer, "phase", ce.Phase, "device", ce.Device,
			"errno", connfsm.ErrnoName(ce.Err), "detail", ce.Detail, "hint", ce.Hint)
	}
	c.out.failed(ce)
}

func (c *conn) reject(err syscall.Errno) {
	reason := hello.ReasonShuttingDown
	if err == syscall.EAGAIN {
		reason = hello.ReasonResources
	}
	c.d.stats.refuse(reason)
	if rerr := c.id.Reject(hello.RejectError{Reason: reason}.Marshal()); rerr != nil {
		c.log.Debug("reject", "conn", c.name(), "err", rerr)
	}
}

// cmEvent translates an event of the connection manager.
func (c *conn) cmEvent(ev rdma.Event) {
	out := connfsm.Event{Kind: connfsm.EventKind(ev.Type)}
	switch {
	case ev.Type == rdma.Rejected:
		out.Reason = ev.Status
		c.cause = nil
		c.detail = fmt.Sprintf("rejected, reason %d (%s)", ev.Status, rdma.RejectReason(ev.Status))
		c.advice = rejectAdvice(rdma.RejectReason(ev.Status))
		if r, err := hello.ParseReject(ev.PrivateData); err == nil {
			out.Err = r.Reason.Errno()
			c.detail = r.Error()
			c.advice = refusalAdvice(out.Err)
		}
	case ev.Status < 0:
		out.Err = syscall.Errno(-ev.Status)
		c.cause = nil
		c.detail = fmt.Sprintf("%s %d", ev.Type, ev.Status)
		if out.Err == syscall.EMFILE || out.Err == syscall.ENFILE {
			c.cause = &rdma.OpError{Op: "resolve address", Err: out.Err} // whose hint is the better one
		}
	}
	switch ev.Type {
	case rdma.AddrResolved:
		c.info.mark(phaseAddrResolved)
	case rdma.RouteResolved:
		c.info.mark(phaseRouteResolved)
	case rdma.Established:
		c.info.mark(phaseEstablished)
		c.info.setAddrs(c.id)
		if c.fsm.Role == connfsm.Active && c.fsm.State == connfsm.Connecting {
			if err := c.ep.answer(ev); err != nil {
				out.Err, c.detail = errno(err), err.Error()
			}
		}
	default: // the state machine has them all
	}
	c.step(out)
}

func (c *conn) startTimer(t connfsm.Timer) {
	var d time.Duration
	switch t {
	case connfsm.Deadline:
		c.d.deadlines.start(c)
		return
	case connfsm.Retry:
		d = c.d.cfg.RetryDelay
	case connfsm.Linger:
		d, c.taken = c.linger, c.ep.progress()
	default:
		d = c.d.cfg.FlushTimeout
	}
	c.stopTimer(t)
	var timer *time.Timer
	timer = background.After(d, "timer", func() {
		background.Checkpoint("timer")
		c.d.loop.post(func() {
			if c.timers[t] == timer { // neither stopped nor replaced meanwhile
				c.timers[t] = nil
				c.expired(t)
			}
		})
	})
	c.timers[t] = timer
}

// expired takes a timer's end. The default linger time is a time without progress: a peer
// that goes on taking messages gets all of them, as with TCP after its socket is closed.
func (c *conn) expired(t connfsm.Timer) {
	if t == connfsm.Linger && !c.strict && c.ep.progress() != c.taken {
		c.startTimer(t)
		return
	}
	c.step(t.Event())
}

func (c *conn) stopTimer(t connfsm.Timer) {
	if t == connfsm.Deadline {
		c.d.deadlines.stop(c)
		return
	}
	if timer := c.timers[t]; timer != nil {
		timer.Stop()
		c.timers[t] = nil
	}
}

// failure says in words why the connection is not to be.
func (c *conn) failure(op string, err syscall.Errno, phase string) *ConnectError {
	ce := &ConnectError{
		Op: op, Peer: c.dst.String(), Phase: phase, Device: c.deviceName(), Err: err,
		Detail: strings.TrimPrefix(c.detail, "rdma: "), Info: c.info.plain(),
	}
	if err == syscall.ECANCELED {
		ce.Detail = cmp.Or(c.ousted, "closed by the application")
	} else {
		ce.Hint = hint(err, c.cause, c.dst.Addr().IsLoopback())
	}
	if c.advice != "" && err != syscall.ECANCELED {
		ce.Hint = c.advice
	}
	return ce
}

func (c *conn) deviceName() string { return c.info.deviceName() }

func (c *conn) name() string {
	if c.fsm.Role == connfsm.Passive {
		return "from " + c.dst.String()
	}
	return "to " + c.dst.String()
}

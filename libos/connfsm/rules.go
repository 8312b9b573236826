package connfsm

import "syscall"

// step is one application of a rule: the connection so far, the event, and the actions.
type step struct {
	c   Conn
	ev  Event
	out []Action

	room [8]Action // for out, as a rule
}

func (s *step) do(ops ...Op) {
	for _, op := range ops {
		switch op {
		case CreateID:
			s.c.HasID = true
		case DestroyID:
			if !s.c.HasID {
				continue
			}
			s.c.HasID = false
		case CreateQP:
			s.c.Making = true
		case DestroyQP:
			s.c.HasQP = false
		default: // changes nothing that is tracked
		}
		s.out = append(s.out, Action{Op: op})
	}
}

func (s *step) doErr(op Op, err syscall.Errno) { s.out = append(s.out, Action{Op: op, Err: err}) }
func (s *step) start(t Timer)                  { s.out = append(s.out, Action{Op: StartTimer, Timer: t}) }

func (s *step) stop(t Timer) { s.out = append(s.out, Action{Op: StopTimer, Timer: t}) }

// settle tells the outcome, a failure, to whoever waits for it, once.
func (s *step) settle(err syscall.Errno) {
	if !s.c.Pending {
		return
	}
	s.c.Pending = false
	if s.c.Role == Active {
		s.doErr(FailToken, err)
	} else {
		s.doErr(Gone, err)
	}
}

// stopTimers stops what may run before a connection is established.
func (s *step) stopTimers() {
	s.stop(Deadline)
	if s.c.State == RetryingAddr || s.c.State == RetryingRoute {
		s.stop(Retry)
	}
}

// flushTo begins to account for posted work.
func (s *step) flushTo(next State, err syscall.Errno) {
	s.c.State, s.c.Drained, s.c.Err = next, false, err
	s.start(FlushEnd)
	s.doErr(Flush, err)
}

// fail ends a connection that was not established yet.
func (s *step) fail(err syscall.Errno) {
	if s.c.Making {
		s.giveUp(AbortingFailed, err)
		return
	}
	s.settle(err)
	s.stopTimers()
	s.c.Err = err
	switch {
	case s.c.HasQP && s.c.Role == Active:
		s.flushTo(FlushingFailed, err)
	case s.c.HasQP:
		s.flushTo(FlushingClosed, err)
	case s.c.Role == Active:
		s.do(DestroyID)
		s.c.State = Failed
	default:
		s.do(DestroyID, Release)
		s.c.State = Released
	}
}

// end ends a connection that was established.
func (s *step) end(err syscall.Errno, awaitDisconnect bool) {
	closed := s.c.State == Closing
	if closed {
		s.stop(Linger)
	}
	s.c.Await = awaitDisconnect
	s.do(Disconnect)
	if closed {
		s.flushTo(FlushingClosed, err)
		s.do(CompleteClose)
	} else {
		s.flushTo(FlushingBroken, err)
	}
}

// odd is the rule of what should be impossible.
func odd(s *step) { s.do(Unexpected) }

// ---- Starting ----------------------------------------------------------------------

// to goes to a state and does the given things.
func to(next State, ops ...Op) rule {
	return func(s *step) {
		s.c.State = next
		s.do(ops...)
	}
}

func startConnect(s *step) {
	s.c.Role, s.c.Pending, s.c.State = Active, true, ResolvingAddr
	s.do(CreateID, ResolveAddr)
	s.start(Deadline)
}

func startAccept(s *step) {
	s.c.Role, s.c.Pending, s.c.HasID, s.c.State = Passive, true, true, CreatingQP
	s.start(Deadline)
	s.do(CreateQP)
}

// dropID lets go of a bound id whose device disappears; a later connect binds anew.
func dropID(s *step) { s.do(DestroyID) }

// qpReady: nothing is missing any more.
func qpReady(s *step) {
	s.c.HasQP, s.c.Making = true, false
	if s.c.Role == Active {
		s.c.State = Connecting
		s.do(ConnectPeer)
	} else {
		s.c.State = Accepting
		s.do(AcceptPeer)
	}
}

// qpFirst: the route is still missing.
func qpFirst(s *step) { s.c.HasQP, s.c.Making = true, false }

func routeResolved(s *step) {
	if s.c.Making {
		s.c.State = CreatingQP
		return
	}
	s.c.State = Connecting
	s.do(ConnectPeer)
}

func qpFailed(s *step) {
	s.c.Making = false
	if s.c.Role == Passive {
		s.doErr(RejectPeer, syscall.EAGAIN)
	}
	s.fail(callErrno(s.ev.Err))
}

func established(s *step) {
	if s.ev.Err != 0 { // not our protocol
		s.c.Await = true
		s.do(Disconnect)
		s.fail(s.ev.Err)
		return
	}
	s.c.State = Attaching
	s.do(Attach)
}

func attached(s *step) {
	s.c.State, s.c.Pending = Established, false
	if s.c.Role == Active {
		s.do(CompleteToken)
	} else {
		s.do(Ready)
	}
	s.stop(Deadline)
	if s.c.Err != 0 { // it broke before CM said established: what arrived can still be popped
		s.end(s.c.Err, true)
	}
}

// brokenEarly keeps what the data plane saw until CM has told its side: a REJECT moves
// the queue pair to the error state before it is reported.
func brokenEarly(s *step) { s.c.Err = orReset(s.ev.Err) }

// ---- Failing before established ----------------------------------------------------

func addrError(s *step) {
	s.c.AddrTries++
	if passing(s.ev.Err) && s.c.AddrTries < MaxAddrTries {
		s.c.State = RetryingAddr
		s.start(Retry)
		return
	}
	s.fail(addrErrno(s.ev.Err))
}

func routeError(s *step) {
	s.c.RouteTries++
	if passing(s.ev.Err) && s.c.RouteTries < MaxRouteTries {
		s.c.State = RetryingRoute
		s.start(Retry)
		return
	}
	s.fail(routeErrno(s.ev.Err))
}

func addrCallFailed(s *step)  { s.fail(addrErrno(s.ev.Err)) }
func routeCallFailed(s *step) { s.fail(routeErrno(s.ev.Err)) }
func callFailed(s *step)      { s.fail(callErrno(s.ev.Err)) }
func routeDeadline(s *step)   { s.fail(syscall.EHOSTUNREACH) }
func timedOut(s *step)        { s.fail(syscall.ETIMEDOUT) }
func deviceGone(s *step)      { s.fail(syscall.ENODEV) }
func peerFailed(s *step)      { s.fail(peerErrno(s.ev.Kind, s.ev.Err)) }

// addrDeadline: nobody answered a whole try, or there was not even time for one.
func addrDeadline(s *step) {
	if s.c.AddrTries > 0 {
		s.fail(syscall.EHOSTUNREACH)
		return
	}
	s.fail(syscall.ETIMEDOUT)
}

func rejected(s *step) {
	if s.ev.Reason == RejectStaleConnection && s.c.StaleTries+1 < MaxStaleTries {
		s.c.StaleTries++
		s.flushTo(FlushingRetry, syscall.ECONNRESET)
		return
	}
	s.fail(rejectErrno(s.ev.Reason, s.ev.Err))
}

// lostBeforeEstablished: the peer was established and has gone again, or the events came
// out of order. The disconnect has two sides, so ours follows.
func lostBeforeEstablished(s *step) {
	s.do(Disconnect)
	s.fail(syscall.ECONNRESET)
}

func attachFailed(s *step) {
	s.c.Await = true
	s.do(Disconnect)
	s.fail(callErrno(s.ev.Err))
}

// peerLeft ends the passive side of a connection whose active side gave up.
func peerLeft(s *step) {
	switch {
	case s.c.Role == Active:
		odd(s)
	case s.c.State == CreatingQP:
		s.giveUp(AbortingClosed, orReset(s.ev.Err))
	default:
		s.fail(syscall.ECONNRESET)
	}
}

// cancel is a close while connecting: its token ends with ECANCELED at once, the rest
// goes on behind.
func cancel(s *step) {
	if s.c.Making {
		giveUpClosed(s)
		return
	}
	s.settle(syscall.ECANCELED)
	s.stopTimers()
	s.do(CompleteClose)
	if s.c.HasQP {
		s.flushTo(FlushingClosed, syscall.ECANCELED)
		return
	}
	s.do(DestroyID, Release)
	s.c.State = Released
}

// cancelAccept is cancel for a connection that the peer may think established.
func cancelAccept(s *step) {
	s.do(Disconnect)
	cancel(s)
}

// ---- Giving up while the queue pair is being made ------------------------------------

func (s *step) giveUp(next State, err syscall.Errno) {
	s.settle(err)
	s.stopTimers()
	s.c.State, s.c.Err = next, err
	if s.c.Role == Passive {
		s.c.State = AbortingClosed // no application knows of it
	}
}

func giveUpTimeout(s *step) { s.giveUp(AbortingFailed, syscall.ETIMEDOUT) }
func giveUpDevice(s *step)  { s.giveUp(AbortingFailed, syscall.ENODEV) }

func giveUpClosed(s *step) {
	s.giveUp(AbortingClosed, syscall.ECANCELED)
	s.do(CompleteClose)
}

func closeAborting(s *step) {
	s.c.State = AbortingClosed
	s.do(CompleteClose)
}

// flushUnused: the queue pair that nobody wants any more has been made.
func flushUnused(s *step) {
	s.c.HasQP, s.c.Making = true, false
	if s.c.Role == Passive {
		s.doErr(RejectPeer, syscall.ECONNABORTED)
	}
	next := FlushingFailed
	if s.c.State == AbortingClosed {
		next = FlushingClosed
	}
	s.flushTo(next, s.c.Err)
}

func dropUnused(s *step) {
	s.c.Making = false
	if s.c.Role == Passive {
		s.doErr(RejectPeer, syscall.ECONNABORTED)
	}
	s.do(DestroyID)
	if s.c.State == AbortingClosed {
		s.do(Release)
		s.c.State = Released
		return
	}
	s.c.State = Failed
}

// ---- Ending an established connection -------------------------------------------------

func startClose(s *step) {
	s.c.State = Closing
	s.start(Linger)
	s.do(SendFIN)
}

func drained(s *step) { s.end(0, true) }

// cut ends a connection without waiting for the peer.
func cut(s *step) {
	s.c.State = Closing // from Established too: this is a close
	s.do(CancelPushes)
	s.end(syscall.ECANCELED, true)
}

func peerDisconnected(s *step) { s.end(syscall.ECONNRESET, false) }
func broken(s *step)           { s.end(orReset(s.ev.Err), true) }
func deviceLost(s *step)       { s.end(syscall.ENODEV, false) }

// ---- Flushing --------------------------------------------------------------------------

func flushed(s *step) {
	s.c.Drained = true
	s.finishFlush()
}

func disconnectSeen(s *step) {
	s.c.Await = false
	s.finishFlush()
}

func flushTimedOut(s *step) {
	s.c.Drained, s.c.Await = true, false
	s.finishFlush()
}

// finishFlush releases the queue pair once its work is accounted for and the peer has
// answered our disconnect: an id destroyed before that would send its DREQ only once.
func (s *step) finishFlush() {
	if !s.c.Drained || s.c.Await {
		return
	}
	s.c.Drained = false
	if s.ev.Kind != FlushTimer {
		s.stop(FlushEnd)
	}
	switch s.c.State {
	case FlushingFailed:
		s.do(DestroyQP, DestroyConn, DestroyID)
		s.c.State = Failed
	case FlushingBroken:
		s.do(DestroyQP, DestroyID)
		s.c.State = Detached
	case FlushingRetry:
		s.do(DestroyQP, DestroyConn, DestroyID, CreateID, ResolveAddr)
		s.c.AddrTries, s.c.RouteTries, s.c.Err = 0, 0, 0
		s.c.State = ResolvingAddr
	default:
		s.do(DestroyQP, DestroyConn, DestroyID, Release)
		s.c.State = Released
	}
}

func giveUpRetry(s *step)       { s.giveUpRetry(syscall.ETIMEDOUT) }
func giveUpRetryDevice(s *step) { s.giveUpRetry(syscall.ENODEV) }

func (s *step) giveUpRetry(err syscall.Errno) {
	s.settle(err)
	s.stop(Deadline)
	s.c.State = FlushingFailed
}

// ---- Closing what is ending or has ended --------------------------------------------

func closeIdle(s *step) {
	s.do(DestroyID, CompleteClose, Release)
	s.c.State = Released
}

func closeFlushing(s *step) {
	if s.c.State == FlushingRetry {
		s.settle(syscall.ECANCELED)
		s.stop(Deadline)
	}
	s.c.State = FlushingClosed
	s.do(CompleteClose)
}

func closeDetached(s *step) {
	s.do(DestroyConn, CompleteClose, Release)
	s.c.State = Released
}

func closeFailed(s *step) {
	s.do(CompleteClose, Release)
	s.c.State = Released
}

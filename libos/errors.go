package libos

import (
	"syscall"

	"catmint/rdma"
)

// ConnectError says why a connect (or bind) failed, in words for people. It unwraps to the errno
// that the token carries.
type ConnectError struct {
	Op     string        // "connect", "accept" or "bind"
	Peer   string        // the peer's address; of bind, the local one
	Phase  string        // what was under way, such as "resolving the address"; "" of bind
	Device string        // the RDMA device, "" while none was chosen
	Err    syscall.Errno // what the application is told
	Detail string        // what the connection manager or the peer said, "" for nothing more
	Hint   string        // what the user can do about it, "" for nothing
	Info   Info          // how far it came, and when; without its GID. Not of bind
}

func (e *ConnectError) Error() string {
	s := e.Op + " " + e.Peer + ": "
	if e.Phase != "" {
		s += e.Phase + ": "
	}
	s += e.Err.Error()
	if e.Device != "" {
		s += " (device " + e.Device + ")"
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap returns the errno.
func (e *ConnectError) Unwrap() error { return e.Err }

// errno is the errno of an error of package rdma or datapath; EIO if it has none.
func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e := rdma.Errno(err); e != 0 {
		return e
	}
	return syscall.EIO
}

// hint says what a user can do about a connect that failed with err; cause is the error
// of the call that failed, if one did. Package rdma knows more about those.
func hint(err syscall.Errno, cause error, loopback bool) string {
	if h := rdma.Hint(cause); h != "" && !loopback {
		return h
	}
	switch {
	case loopback:
		return "RDMA does not work over the loopback address: use an address of an RDMA network device"
	case err == syscall.ENETUNREACH:
		return "no RDMA device reaches that address: see `rdma link` and `ip route get`"
	case err == syscall.EHOSTUNREACH:
		return "nobody answers at that address: check the address and that the peer's link is up"
	case err == syscall.EADDRNOTAVAIL:
		return "that is not an address of an RDMA network device here: see `rdma link` and `ip address`"
	case err == syscall.ECONNREFUSED:
		return "is the server running, on that port, over RDMA (its port space is not TCP's)?"
	case err == syscall.ECONNRESET:
		return "the peer answered and then gave the connection up: has the server just ended? See its log"
	case err == syscall.ETIMEDOUT:
		return "the host is there and does not answer: check for a firewall on UDP port 4791"
	case err == syscall.ENOMEM:
		return "locked memory is used up: raise it with `ulimit -l unlimited`"
	case err == syscall.EAGAIN:
		return "queue pairs, completion queues or tokens are used up: close connections and try again"
	case err == syscall.EPROTO:
		return "the peer does not run Catmint, or an incompatible version"
	case err == syscall.ENODEV:
		return "there is no RDMA device, or it has gone away: see `rdma link`"
	case err == syscall.EADDRINUSE:
		return "a socket is bound to that address and port already: choose another port, or 0 for any"
	case err == 0:
		return ""
	}
	return "`rping-demi --doctor` says what is wrong with RDMA on a machine, and dmesg what a driver says"
}

// rejectAdvice says what a user can do about a refusal by the peer's connection manager, ""
// where its errno says enough.
func rejectAdvice(r rdma.RejectReason) string {
	switch r {
	case rdma.RejectInvalidServiceID, rdma.RejectTimeout:
		return ""
	case rdma.RejectStaleConn:
		return "the peer's host takes it for an older connection, whose end it has not heard of: try again in a minute"
	case rdma.RejectConsumerDefined:
		return "a program of another protocol listens there: check the port; or the server listens on another " +
			"address of its host only; or it is out of file descriptors: see ulimit -n there"
	case rdma.RejectNoQP, rdma.RejectNoResources:
		return "the peer's host has no resources for connections left: close some there, or try again later"
	default:
		if r < 0 { // iWARP's errnos
			return ""
		}
		return "the peer's connection manager does not take the request: see dmesg on both hosts"
	}
}

// refusalAdvice says what a user can do about a refusal by a peer that runs Catmint.
func refusalAdvice(err syscall.Errno) string {
	switch err {
	case syscall.EPROTO:
		return "the peer runs another version of Catmint: run the same on both sides"
	case syscall.EPROTOTYPE:
		return "a libOS listens there, which speaks no other protocol"
	default:
		return "the server is there and takes nobody now: try again later"
	}
}

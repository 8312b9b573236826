package connfsm

import (
	"fmt"
	"syscall"
)

// The transport's reject reasons that matter here (IBTA vol. 1, table 108; the kernel's
// enum ib_cm_rej_reason).
const (
	RejectNoResources      = 3  // the peer's CM has no resources
	RejectTimeout          = 4  // the peer's CM waited in vain for what we sent
	RejectStaleConnection  = 10 // the peer's CM still holds a connection of this queue pair's number
	RejectInvalidServiceID = 8  // nobody listens on that port
	RejectConsumer         = 28 // the application said no; private data says why
)

// addrErrno maps a failure of address resolution to what the application is told.
func addrErrno(err syscall.Errno) syscall.Errno {
	switch err {
	case 0, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENXIO:
		return syscall.EHOSTUNREACH // no ARP or ND answer
	case syscall.ENODEV:
		return syscall.ENETUNREACH // routed, but not over an RDMA device
	case syscall.ENOMEM, syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE:
		return syscall.EAGAIN
	default: // ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE, EINVAL, EACCES, ... mean what they say
		return err
	}
}

// routeErrno maps a failure of route resolution.
func routeErrno(err syscall.Errno) syscall.Errno {
	switch err {
	case 0, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.EINVAL:
		return syscall.EHOSTUNREACH
	case syscall.ENODEV:
		return syscall.ENETUNREACH
	case syscall.ENOMEM, syscall.EAGAIN:
		return syscall.EAGAIN
	default:
		return err
	}
}

// rejectErrno maps a REJECTED: typed is the errno of our own typed reject, if the private
// data held one.
func rejectErrno(reason int, typed syscall.Errno) syscall.Errno {
	switch {
	case typed != 0:
		return typed
	case reason == RejectInvalidServiceID:
		return syscall.ECONNREFUSED
	case reason == RejectConsumer:
		// The other side runs something else on RDMA CM, and it said no.
		return syscall.ECONNREFUSED
	case reason == int(syscall.ECONNREFUSED), reason == -int(syscall.ECONNREFUSED):
		return syscall.ECONNREFUSED // iWARP has errnos where IB has reasons
	case reason == RejectNoResources:
		return syscall.ECONNREFUSED
	case reason == RejectTimeout, reason == -int(syscall.ETIMEDOUT):
		return syscall.ETIMEDOUT
	case reason == RejectStaleConnection:
		return syscall.ECONNRESET // and the retries are used up
	default:
		return syscall.ECONNREFUSED
	}
}

// peerErrno maps UNREACHABLE and CONNECT_ERROR.
func peerErrno(kind EventKind, err syscall.Errno) syscall.Errno {
	switch {
	case err == syscall.ETIMEDOUT, err == 0 && kind == Unreachable:
		return syscall.ETIMEDOUT
	case err == syscall.ENODEV, err == syscall.EHOSTUNREACH, err == syscall.ENETUNREACH, err == syscall.ECONNREFUSED:
		return err
	case err == syscall.ENOMEM, err == syscall.EAGAIN:
		return syscall.EAGAIN
	case kind == Unreachable:
		return syscall.EHOSTUNREACH
	case err == syscall.EINVAL:
		// The answer came, and before it was taken the peer took it back (a REJECT behind it,
		// as of a listener that closes): CM has forgotten the connection by then.
		return syscall.ECONNRESET
	default:
		return syscall.ECONNABORTED // the queue pair's own transition failed
	}
}

// callErrno maps a failed call of rdma_connect, rdma_accept or the data plane.
func callErrno(err syscall.Errno) syscall.Errno {
	switch err {
	case 0:
		return syscall.EIO
	case syscall.ENOSPC, syscall.EBUSY, syscall.EMFILE, syscall.ENFILE:
		return syscall.EAGAIN
	default:
		return err
	}
}

// orReset is err, or ECONNRESET when there is none.
func orReset(err syscall.Errno) syscall.Errno {
	if err == 0 {
		return syscall.ECONNRESET
	}
	return err
}

// passing says whether a failed resolution is worth another try.
func passing(err syscall.Errno) bool {
	switch err {
	case 0, syscall.ETIMEDOUT, syscall.EAGAIN, syscall.EHOSTUNREACH, syscall.ENOMEM, syscall.EINTR:
		return true
	default:
		return false
	}
}

var errnoNames = map[syscall.Errno]string{
	syscall.EPERM: "EPERM", syscall.EINTR: "EINTR", syscall.EIO: "EIO", syscall.ENXIO: "ENXIO", syscall.EBADF: "EBADF",
	syscall.EAGAIN: "EAGAIN", syscall.ENOMEM: "ENOMEM", syscall.EACCES: "EACCES", syscall.EFAULT: "EFAULT",
	syscall.EBUSY: "EBUSY", syscall.EEXIST: "EEXIST", syscall.ENODEV: "ENODEV", syscall.EINVAL: "EINVAL",
	syscall.ENFILE: "ENFILE", syscall.EMFILE: "EMFILE", syscall.ENOSPC: "ENOSPC", syscall.EPIPE: "EPIPE",
	syscall.ENOSYS: "ENOSYS", syscall.EPROTO: "EPROTO", syscall.EPROTOTYPE: "EPROTOTYPE", syscall.EMSGSIZE: "EMSGSIZE", syscall.EDESTADDRREQ: "EDESTADDRREQ",
	syscall.ENOPROTOOPT: "ENOPROTOOPT", syscall.ENOTSUP: "ENOTSUP", syscall.EADDRINUSE: "EADDRINUSE",
	syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL", syscall.ENETDOWN: "ENETDOWN", syscall.ENETUNREACH: "ENETUNREACH",
	syscall.ECONNABORTED: "ECONNABORTED", syscall.ECONNRESET: "ECONNRESET", syscall.EISCONN: "EISCONN",
	syscall.ENOTCONN: "ENOTCONN", syscall.ETIMEDOUT: "ETIMEDOUT", syscall.ECONNREFUSED: "ECONNREFUSED",
	syscall.EHOSTDOWN: "EHOSTDOWN", syscall.EHOSTUNREACH: "EHOSTUNREACH", syscall.EALREADY: "EALREADY",
	syscall.EINPROGRESS: "EINPROGRESS", syscall.ECANCELED: "ECANCELED",
}

// ErrnoName is the symbolic name of an errno, as in errno(3).
func ErrnoName(err syscall.Errno) string {
	if n, ok := errnoNames[err]; ok {
		return n
	}
	return fmt.Sprintf("errno%d", int(err))
}

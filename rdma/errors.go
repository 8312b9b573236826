package rdma

import (
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The operations of OpError that Hint knows about.
const (
	opListDevices   = "list devices"
	opOpenDevice    = "open device"
	opEventChannel  = "create event channel"
	opBindAddr      = "bind address"
	opResolveAddr   = "resolve address"
	opResolveRoute  = "resolve route"
	opAllocPD       = "allocate protection domain"
	opRegMR         = "register memory"
	opCreateChannel = "create completion channel"
	opCreateCQ      = "create completion queue"
	opCreateQP      = "create queue pair"
)

// OpError is the error of an operation on an RDMA object.
type OpError struct {
	Op     string // what was tried, such as "resolve address"
	Device string // the device's name; empty where none was known
	Err    error  // usually a syscall.Errno
}

// Error returns "rdma: op: device: error".
func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString("rdma: ")
	b.WriteString(e.Op)
	if e.Device != "" {
		b.WriteString(": ")
		b.WriteString(e.Device)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }

// errnoError makes an OpError of a positive errno, nil of 0.
func errnoError(op, device string, errno int) error {
	if errno == 0 {
		return nil
	}
	return &OpError{Op: op, Device: device, Err: syscall.Errno(errno)}
}

// filesOfDevice is how many descriptors librdmacm has open at once, while it opens a device.
const filesOfDevice = 4

// whyNoDevice is the errno behind one of librdmacm's: it opens the device of an id on its own, and
// says ENODEV when it cannot, even if all that is missing is a file descriptor.
func whyNoDevice(errno syscall.Errno) syscall.Errno {
	if errno != syscall.ENODEV {
		return errno
	}
	for range filesOfDevice {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err == unix.EMFILE || err == unix.ENFILE {
			return Errno(err)
		}
		if err == nil {
			defer unix.Close(fd) //nolint:errcheck // of no further use
		}
	}
	return errno
}

// Errno returns the errno that err unwraps to, and 0 if there is none.
func Errno(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return 0
}

package rdma

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Hint says in one sentence what the user can do about an error of this package, given
// the machine that it happened on; empty if there is nothing to say. It reads files and
// may be called from any goroutine.
func Hint(err error) string {
	return machine{root: "/", memlock: memlockLimit}.hint(err)
}

// machine is what a hint depends on.
type machine struct {
	root    string                         // of the file system
	memlock func() (limit uint64, ok bool) // RLIMIT_MEMLOCK in bytes; false: unlimited
}

func (m machine) hint(err error) string {
	var op *OpError
	errno := Errno(err)
	if errno == syscall.EMFILE || errno == syscall.ENFILE {
		return hintFiles
	}
	if errno == 0 || !errors.As(err, &op) {
		return ""
	}
	switch op.Op {
	case opListDevices, opOpenDevice, opEventChannel:
		return m.accessHint(errno)
	case opBindAddr, opResolveAddr, opResolveRoute:
		return addressHint(op.Op, errno)
	case opAllocPD, opRegMR, opCreateChannel, opCreateCQ, opCreateQP:
		return m.resourceHint(errno)
	default:
		return ""
	}
}

const (
	hintNoDevice = "this machine has no RDMA device: load the driver of its NIC, or make a " +
		"Soft-RoCE one as root: modprobe rdma_rxe && rdma link add rxe0 type rxe netdev NETDEV"
	hintNoUverbs = "programs cannot reach the RDMA devices: load the module as root: modprobe ib_uverbs"
	hintNoUCM    = "programs cannot reach the RDMA connection manager: load the module as root: " +
		"modprobe rdma_ucm"
	hintNoNodes = "the device nodes in /dev/infiniband are missing: in a container, pass " +
		"/dev/infiniband into it"
	hintNoAccess = "no permission to open the device nodes in /dev/infiniband: give the user read " +
		"and write access to them, or run as root"
	hintNoProvider = "libibverbs has no provider library for this machine's RDMA device: install it " +
		"(ibverbs-providers on Debian and Ubuntu, libibverbs on Fedora and RHEL), as new as libibverbs"
	hintNotLocal = "the address must be one of this machine's, on a network device that an RDMA " +
		"device serves: see `rdma link`"
	hintNoRoute = "no RDMA device serves the route to the address, which must not be a loopback " +
		"address: see `rdma link` and use an address of such a network device"
	hintFiles = "raise the limit with ulimit -n"
)

// accessHint is about a machine whose RDMA devices or connection manager cannot be
// opened. What the modules offer is in sysfs, what the process can open in /dev.
func (m machine) accessHint(errno syscall.Errno) string {
	switch errno {
	case syscall.EACCES, syscall.EPERM:
		return hintNoAccess
	case syscall.ENODEV, syscall.ENOENT, syscall.ENOSYS, syscall.ENXIO:
	default:
		return ""
	}
	switch {
	case !m.populated("sys/class/infiniband"):
		return hintNoDevice
	case !m.populated("sys/class/infiniband_verbs"):
		return hintNoUverbs
	case !m.exists("sys/class/misc/rdma_cm"):
		return hintNoUCM
	case !m.exists("dev/infiniband/rdma_cm"), !m.matches("dev/infiniband/uverbs*"):
		return hintNoNodes
	case errno == syscall.ENODEV: // all is there, and libibverbs knows no device
		return hintNoProvider
	default:
		return ""
	}
}

func addressHint(op string, errno syscall.Errno) string {
	switch errno {
	case syscall.EADDRNOTAVAIL:
		return hintNotLocal
	case syscall.ENODEV:
		if op == opBindAddr {
			return hintNotLocal
		}
		return hintNoRoute
	default:
		return ""
	}
}

func (m machine) resourceHint(errno syscall.Errno) string {
	if errno != syscall.ENOMEM {
		return ""
	}
	if limit, ok := m.memlock(); ok {
		return fmt.Sprintf("locked memory is limited to %d KiB (RLIMIT_MEMLOCK): raise it with "+
			"ulimit -l unlimited, or LimitMEMLOCK=infinity in a systemd unit", limit/1024)
	}
	return ""
}

func (m machine) exists(path string) bool {
	_, err := os.Stat(filepath.Join(m.root, path))
	return err == nil
}

// matches tells whether a pattern names anything.
func (m machine) matches(pattern string) bool {
	found, err := filepath.Glob(filepath.Join(m.root, pattern))
	return err == nil && len(found) != 0
}

// populated tells whether a directory has entries.
func (m machine) populated(path string) bool { return m.matches(filepath.Join(path, "*")) }

func memlockLimit() (uint64, bool) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) != nil || limit.Cur == unix.RLIM_INFINITY {
		return 0, false
	}
	return limit.Cur, true
}

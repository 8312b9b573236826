package doctor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"catmint/libos"
	"catmint/rdma"
)

// The problems that limits and connections can have.
const (
	LowMemlock    Code = "memlock"
	ConnectFailed Code = "connect-failed"
)

// What Catmint locks: messages lie in arenas of 2 MiB, registered whole, and an idle connection
// has 64 KiB of receives in them. A NIC locks its queues, too; Soft-RoCE does not: there a
// first connection works with 2 MiB and fails with 1.
const (
	mebi         = 1 << 20
	memlockLeast = 4 * mebi  // one arena, and queues beside it, or a second one
	memlockGood  = 64 * mebi // large messages, or several hundred connections
	idleConn     = 64 << 10
)

func (x *exam) checkMemlock() {
	m, err := x.Memlock()
	const (
		check = "memlock"
		raise = "ulimit -l unlimited; for good: \"* - memlock unlimited\" in /etc/security/limits.d/rdma.conf, " +
			"LimitMEMLOCK=infinity in a systemd unit, or docker run --ulimit memlock=-1"
	)
	switch {
	case err != nil:
		x.bad(Warning, LowMemlock, check, "", fmt.Sprintf("the limit of locked memory cannot be read: %v", err), "")
	case m.Privileged:
		x.ok(check, "", "locked memory is not limited: this process has CAP_IPC_LOCK")
	case m.Soft == unix.RLIM_INFINITY:
		x.ok(check, "", "locked memory is not limited")
	case m.Soft < memlockLeast:
		x.bad(Warning, LowMemlock, check, "",
			fmt.Sprintf("this user may lock %d KiB of memory; a first connection takes 2 MiB, and on a NIC the memory of its queues",
				m.Soft/1024), raise)
	case m.Soft < memlockGood:
		x.bad(Warning, LowMemlock, check, "",
			fmt.Sprintf("this user may lock %d MiB of memory: %d idle connections at most, and no larger message",
				m.Soft/mebi, m.Soft/idleConn), raise)
	default:
		x.ok(check, "", "this user may lock %d MiB of memory: messages and buffers may take so much", m.Soft/mebi)
	}
}

// checkAddresses finds the addresses that can be used, and connects to itself over the first
// of each device.
func (x *exam) checkAddresses() {
	tried := map[string]bool{}
	for _, n := range x.netdevs {
		name := x.serves(n.Name)
		d := x.device(name)
		if name == "" || d != nil && !d.ok {
			continue
		}
		addrs := usable(n.Addrs)
		if len(addrs) == 0 {
			x.bad(Failure, NoAddress, "address", n.Name, fmt.Sprintf("%s, which %s serves, has no address", n.Name, name),
				"ip address add ADDRESS/PREFIX dev "+n.Name+" (as root)")
			continue
		}
		for _, a := range addrs {
			if !tried[name] {
				tried[name] = true
				took, err := x.Connect(x.ctx, a)
				if err != nil {
					x.connectFailed(a.String(), name, err)
					break
				}
				x.ok("connect", a.String(), "a connection from %s to itself over %s works, made in %.1f ms", a, name, float64(took.Microseconds())/1000)
			}
			x.report.Addresses = append(x.report.Addresses, Address{a, n.Name, name})
		}
	}
	if len(x.report.Addresses) == 0 && len(x.devices) > 0 && x.worst() != Failure {
		x.bad(Failure, NoAddress, "address", "", "no network device with an RDMA device has an address",
			"see rdma link, and give its network device an address")
	}
}

func (x *exam) connectFailed(addr, device string, err error) {
	do := rdma.Hint(err)
	var ce *libos.ConnectError
	if errors.As(err, &ce) {
		short := *ce
		short.Hint, do, err = "", ce.Hint, &short
	}
	if do == "" {
		do = "run it again with DEMI_LOG=debug, and see dmesg"
	}
	x.bad(Failure, ConnectFailed, "connect", addr, fmt.Sprintf("a connection from %s to itself over %s fails: %v", addr, device, err), do)
}

func (x *exam) device(name string) *device {
	for _, d := range x.devices {
		if d.name == name {
			return d
		}
	}
	return nil
}

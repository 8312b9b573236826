package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"catmint/rdma"
)

// Host is a machine as the checks see it.
type Host struct {
	// Root is the folder that sys, proc, dev and lib are in.
	Root string
	// Kernel is the release of the running kernel, as uname -r says it.
	Kernel string
	// OpenNode opens a device node below Root for reading and writing, and closes it.
	OpenNode func(path string) error
	// Probe lists the devices that libibverbs knows.
	Probe func() ([]rdma.DeviceProbe, error)
	// Netdevs lists the network devices of this network namespace.
	Netdevs func() ([]Netdev, error)
	// Served returns the RDMA device that serves a network device, an error if none does.
	Served func(netdev string) (string, error)
	// NetnsMode is how RDMA devices belong to network namespaces: "shared" or "exclusive".
	NetnsMode func() (string, error)
	// Memlock is what the process may lock in memory, in bytes.
	Memlock func() (Memlock, error)
	// Connect makes a connection from an address of this machine to itself, sends a message
	// over it, and returns how long the connect took.
	Connect func(ctx context.Context, addr netip.Addr) (time.Duration, error)
}

// Netdev is a network device.
type Netdev struct {
	Name     string
	Up       bool
	Loopback bool
	Ethernet bool // RDMA in software can run on it
	Addrs    []netip.Addr
	Default  bool // the default route leads over it
}

// Memlock is a limit of locked memory in bytes.
type Memlock struct {
	Soft, Hard uint64 // unix.RLIM_INFINITY for none
	Privileged bool   // CAP_IPC_LOCK: the limit does not count
}

// ThisHost is the machine that the program runs on. connect is Host.Connect.
func ThisHost(connect func(context.Context, netip.Addr) (time.Duration, error)) Host {
	return Host{
		Root: "/", Kernel: release(), OpenNode: openNode, Probe: rdma.ProbeDevices, Netdevs: netdevs,
		Served: rdma.NetdevDevice, NetnsMode: netlink.RdmaSystemGetNetnsMode, Memlock: memlock, Connect: connect,
	}
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func openNode(path string) error {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err == nil {
			return unix.Close(fd)
		}
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func netdevs() ([]Netdev, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	defaults := map[int]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			continue // of use for the order of proposals only
		}
		for _, r := range routes {
			if r.Dst == nil || r.Dst.IP.IsUnspecified() {
				defaults[r.LinkIndex] = true
			}
		}
	}
	var out []Netdev
	for _, l := range links {
		a := l.Attrs()
		n := Netdev{
			Name: a.Name, Up: a.Flags&net.FlagUp != 0 && a.OperState != netlink.OperDown,
			Loopback: a.Flags&net.FlagLoopback != 0, Ethernet: a.EncapType == "ether", Default: defaults[a.Index],
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue // it has just gone
		}
		for _, addr := range addrs {
			if ip, ok := netip.AddrFromSlice(addr.IP); ok {
				n.Addrs = append(n.Addrs, ip.Unmap())
			}
		}
		out = append(out, n)
	}
	return out, nil
}

func memlock() (Memlock, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return Memlock{}, os.NewSyscallError("getrlimit", err)
	}
	m := Memlock{Soft: limit.Cur, Hard: limit.Max}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return m, os.NewSyscallError("capget", err)
	}
	m.Privileged = data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
	return m, nil
}

// ---- Files ---------------------------------------------------------------------------------

func (h Host) path(elem ...string) string {
	return filepath.Join(append([]string{h.Root}, elem...)...)
}

// read is the text of a file without the white space around it; "" if it cannot be read.
func (h Host) read(elem ...string) string {
	b, err := os.ReadFile(h.path(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// list names what is in a folder; nothing if there is none.
func (h Host) list(elem ...string) []string {
	entries, err := os.ReadDir(h.path(elem...))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (h Host) exists(elem ...string) bool {
	_, err := os.Stat(h.path(elem...))
	return err == nil
}

// inContainer says whether this looks like a container.
func (h Host) inContainer() bool {
	return h.exists(".dockerenv") || h.exists("run", ".containerenv") || h.exists("run", "systemd", "container") ||
		h.exists("var", "run", "secrets", "kubernetes.io")
}

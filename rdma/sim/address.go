package sim

import (
	"net/netip"
	"slices"
	"syscall"
	"time"

	"catmint/rdma"
)

const (
	firstEphemeralPort = 32768
	lastEphemeralPort  = 60999
)

// BindAddr implements [rdma.ID]. EINVAL: bound already, or a link-local address without
// zone; EADDRNOTAVAIL: not an address of this host, or the wildcard meets another id's port;
// EADDRINUSE. To rdma_cm a loopback address is a wildcard, on which nobody can be reached.
func (i *id) BindAddr(addr netip.AddrPort) error {
	const op = "bind address"
	defer i.lock()()
	if err := i.begin(CallBindAddr, op); err != nil {
		return err
	}
	return i.fail(op, i.bind(addr))
}

func (i *id) bind(addr netip.AddrPort) syscall.Errno {
	if i.state != idle || !addr.IsValid() {
		return syscall.EINVAL
	}
	a := addr.Addr().Unmap()
	var dev *device
	if !anyAddr(a) {
		if a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
			return syscall.EINVAL
		}
		if dev = i.host().deviceOf(a); dev == nil {
			return syscall.EADDRNOTAVAIL
		}
	}
	port, errno := i.host().takePort(i, a, addr.Port())
	if errno != 0 {
		return errno
	}
	i.local = netip.AddrPortFrom(a, port)
	i.dev = dev
	i.state = addrBound
	return 0
}

// anyAddr is cma_any_addr of cma.c.
func anyAddr(a netip.Addr) bool { return a.IsUnspecified() || a.IsLoopback() }

// conflict checks port sharing as cma.c does.
func (i *id) conflict(a netip.Addr, other *id, reuse bool) syscall.Errno {
	if other == i || (reuse && other.reuse) {
		return 0
	}
	b := other.local.Addr()
	if i.afOnly && other.afOnly && a.Is4() != b.Is4() {
		return 0
	}
	if anyAddr(a) || anyAddr(b) {
		return syscall.EADDRNOTAVAIL
	}
	if a == b {
		return syscall.EADDRINUSE
	}
	return 0
}

// takePort gives i a port number, any with 0.
func (h *Host) takePort(i *id, a netip.Addr, port uint16) (uint16, syscall.Errno) {
	if port == 0 {
		for range lastEphemeralPort - firstEphemeralPort + 1 {
			p := h.nextPort
			if h.nextPort++; h.nextPort > lastEphemeralPort {
				h.nextPort = firstEphemeralPort
			}
			if len(h.ports[p]) == 0 {
				h.ports[p] = []*id{i}
				return p, 0
			}
		}
		return 0, syscall.EADDRNOTAVAIL
	}
	for _, other := range h.ports[port] {
		if errno := i.conflict(a, other, i.reuse); errno != 0 {
			return 0, errno
		}
	}
	h.ports[port] = append(h.ports[port], i)
	return port, 0
}

// holdsPort: a new connection shares its listener's.
func (i *id) holdsPort() bool { return i.state != idle && (i.ep == nil || !i.ep.passive) }

func (h *Host) freePort(i *id) {
	p := i.local.Port()
	ids := slices.DeleteFunc(h.ports[p], func(other *id) bool { return other == i })
	if len(ids) == 0 {
		delete(h.ports, p)
	} else {
		h.ports[p] = ids
	}
}

// ResolveAddr implements [rdma.ID]. ENETUNREACH: no device reaches dst; EINVAL: the id is
// past this step, or the families differ; errors of BindAddr for src. An address that nobody
// has ends in ADDR_ERROR -ETIMEDOUT. The loopback address is resolved; its route is not.
func (i *id) ResolveAddr(src, dst netip.AddrPort, _ time.Duration) error {
	const op = "resolve address"
	defer i.lock()()
	if err := i.begin(CallResolveAddr, op); err != nil {
		return err
	}
	if !dst.IsValid() {
		return i.fail(op, syscall.EINVAL)
	}
	d := dst.Addr().Unmap()
	if i.state == idle {
		if !src.IsValid() {
			src = netip.AddrPortFrom(wildcard(d), 0)
		}
		if errno := i.bind(src); errno != 0 {
			return i.fail(op, errno)
		}
	}
	if i.state != addrBound || i.local.Addr().Is4() != d.Is4() {
		return i.fail(op, syscall.EINVAL)
	}
	return i.fail(op, i.resolve(netip.AddrPortFrom(d, dst.Port())))
}

func wildcard(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (i *id) resolve(dst netip.AddrPort) syscall.Errno {
	n := i.host().net
	if anyAddr(dst.Addr()) {
		return i.resolveLoopback(dst)
	}
	from := i.local.Addr()
	if anyAddr(from) {
		from = netip.Addr{}
	}
	local, dev, ok := i.host().route(from, dst.Addr())
	if !ok {
		return syscall.ENETUNREACH
	}
	if peer := n.hostOf(dst.Addr()); peer == nil || !n.reach(i.host(), peer) {
		i.post(rdma.Event{Type: rdma.AddrError, Status: -int(syscall.ETIMEDOUT)}, nil)
		return 0
	}
	i.resolved(local, dst, dev)
	return 0
}

// resolveLoopback takes the host's first device, as cma_bind_loopback does.
func (i *id) resolveLoopback(dst netip.AddrPort) syscall.Errno {
	dev := i.dev
	if dev == nil {
		if len(i.host().devices) == 0 {
			return syscall.ENODEV
		}
		dev = i.host().devices[0]
	}
	i.loopback = true
	local, remote := dst.Addr(), dst
	if local.IsUnspecified() {
		remote = netip.AddrPort{}
		if local.Is4() {
			local = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		} else {
			local = netip.IPv6Loopback()
		}
	}
	i.resolved(local, remote, dev)
	return 0
}

// resolved reports ADDR_RESOLVED; what it tells is known when the event is taken.
func (i *id) resolved(local netip.Addr, remote netip.AddrPort, dev *device) {
	i.state = addrResolved
	i.post(rdma.Event{Type: rdma.AddrResolved}, func(*rdma.Event) bool {
		i.local = netip.AddrPortFrom(local, i.local.Port())
		i.remote, i.dev = remote, dev
		return true
	})
}

// ResolveRoute implements [rdma.ID]. EINVAL: the address has not been resolved; ENODEV: it
// is a loopback address.
func (i *id) ResolveRoute(time.Duration) error {
	const op = "resolve route"
	defer i.lock()()
	if err := i.begin(CallResolveRoute, op); err != nil {
		return err
	}
	if i.state != addrResolved || i.dev == nil {
		return i.fail(op, syscall.EINVAL)
	}
	if i.loopback {
		return i.fail(op, syscall.ENODEV)
	}
	i.state = routeResolved
	i.post(rdma.Event{Type: rdma.RouteResolved}, nil)
	return nil
}

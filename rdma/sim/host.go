package sim

// #include <stdlib.h>
// #include "sim.h"
import "C"

import (
	"hash/fnv"
	"net/netip"
	"syscall"
	"unsafe"

	"catmint/rdma"
	"catmint/rdma/internal/track"
)

// Host is a machine in a network: it has devices with addresses, and port numbers of its
// own. It implements [rdma.Fabric].
type Host struct {
	net  *Network
	name string

	// Guarded by net.mu.
	devices  []*device // present
	all      []*device // removed ones included
	ports    map[uint16][]*id
	nextPort uint16
	channels []*channel
	off      bool
}

var _ rdma.Fabric = (*Host)(nil)

// DeviceConfig describes a device and the network device under it.
type DeviceConfig struct {
	Name   string // such as "sim0"
	Netdev string // such as "eth0": the zone of link-local addresses; the Name if empty
	// Addrs are the network device's addresses with the prefixes that it reaches.
	Addrs []netip.Prefix
	// Limits; zero fields are as on rxe of Linux 6.12.
	MaxQP, MaxCQE, MaxQPWR, MaxSGE, MaxInline, MaxQPRdAtom int
	MaxMsgSize                                             uint64 // bytes of one message
	// MaxMRBytes bounds what is registered at once, as RLIMIT_MEMLOCK does.
	MaxMRBytes uint64
	// IWARP makes READs go only into memory that is registered for the peer to write, too, as
	// on iWARP; all else stays as it is.
	IWARP bool
}

// AddHost adds a host. It panics if a device has an address that the network already has.
func (n *Network) AddHost(name string, devices ...DeviceConfig) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{net: n, name: name, ports: make(map[uint16][]*id), nextPort: firstEphemeralPort}
	n.hosts = append(n.hosts, h)
	for _, cfg := range devices {
		h.addDevice(cfg)
	}
	return h
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Network returns the network that the host belongs to.
func (h *Host) Network() *Network { return h.net }

// AddDevice plugs a device in. It panics if the network already has one of its addresses.
func (h *Host) AddDevice(cfg DeviceConfig) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.addDevice(cfg)
}

func (h *Host) addDevice(cfg DeviceConfig) {
	for _, p := range cfg.Addrs {
		if other := h.net.hostOf(p.Addr()); other != nil {
			panic("sim: " + p.Addr().String() + " belongs to host " + other.name + " already")
		}
	}
	if cfg.Netdev == "" {
		cfg.Netdev = cfg.Name
	}
	d := newDevice(h, cfg)
	h.devices = append(h.devices, d)
	h.all = append(h.all, d)
}

// Devices implements [rdma.Fabric].
func (h *Host) Devices() ([]rdma.DeviceInfo, error) {
	if err := h.call(CallDevices, "list devices", ""); err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	infos := make([]rdma.DeviceInfo, 0, len(h.devices))
	for _, d := range h.devices {
		infos = append(infos, rdma.DeviceInfo{
			Name:      d.cfg.Name,
			NodeType:  rdma.NodeCA,
			Transport: rdma.TransportIB,
			NodeGUID:  d.attr.NodeGUID,
			NumPorts:  1,
			Netdevs:   []string{d.cfg.Netdev},
		})
	}
	return infos, nil
}

// NewEventChannel implements [rdma.Fabric]. ENODEV: the host has no device.
func (h *Host) NewEventChannel() (rdma.EventChannel, error) {
	const op = "create event channel"
	if err := h.call(CallNewEventChannel, op, ""); err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if len(h.devices) == 0 {
		return nil, opError(op, "", syscall.ENODEV)
	}
	h.net.chans++
	ch := &channel{
		host:  h,
		ready: make(chan struct{}, 1),
		woken: make(chan struct{}, 1),
		intr:  make(chan struct{}, 1),
		ids:   make(map[*id]struct{}),
		rec:   track.Open("event channel"),
	}
	h.channels = append(h.channels, ch)
	return ch, nil
}

// SlowOps implements [rdma.Fabric].
func (h *Host) SlowOps() unsafe.Pointer { return unsafe.Pointer(C.sim_slow_ops()) }

// RemoveDevice unplugs a device: ids bound to it get DEVICE_REMOVAL, its queue pairs enter
// the error state, its peers are told as if the ids had been destroyed. It reports whether
// there was one of that name.
func (h *Host) RemoveDevice(name string) bool {
	n := h.net
	n.mu.Lock()
	var d *device
	for i, x := range h.devices {
		if x.cfg.Name == name {
			d = x
			h.devices = append(h.devices[:i:i], h.devices[i+1:]...)
			break
		}
	}
	if d == nil {
		n.mu.Unlock()
		return false
	}
	for _, ch := range h.channels {
		for _, i := range ch.ordered() {
			if i.dev == d {
				i.deviceRemoved()
			}
		}
	}
	C.sim_device_remove(d.ctx)
	n.mu.Unlock()
	close(d.removed)
	return true
}

// ChangeAddr tells every id that is bound to a device that its address has changed:
// ADDR_CHANGE, as after a fail-over of a bond.
func (h *Host) ChangeAddr(name string) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, ch := range h.channels {
		for _, i := range ch.ordered() {
			if i.dev != nil && i.dev.cfg.Name == name {
				i.post(rdma.Event{Type: rdma.AddrChange}, nil)
			}
		}
	}
}

// PowerOff cuts the host off from every other, for ever and without a word.
func (h *Host) PowerOff() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.off = true
	h.net.applyCuts()
}

// Cut stops all traffic between two hosts, of the connection manager and of queue pairs,
// or lets it flow again.
func (n *Network) Cut(a, b *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]*Host{a, b}] = cut
	n.cuts[[2]*Host{b, a}] = cut
	n.applyCuts()
}

func (n *Network) reach(a, b *Host) bool {
	if a == b {
		return true
	}
	return !a.off && !b.off && !n.cuts[[2]*Host{a, b}]
}

// applyCuts carries the state of the links over to the queue pairs.
func (n *Network) applyCuts() {
	for _, h := range n.hosts {
		for _, ch := range h.channels {
			for i := range ch.ids {
				i.applyCut()
			}
		}
	}
}

// hostOf returns the host that has an address, without regard to zones.
func (n *Network) hostOf(addr netip.Addr) *Host {
	addr = addr.Unmap().WithZone("")
	for _, h := range n.hosts {
		for _, d := range h.devices {
			for _, p := range d.cfg.Addrs {
				if p.Addr() == addr {
					return h
				}
			}
		}
	}
	return nil
}

// deviceOf returns the host's device that has a local address.
func (h *Host) deviceOf(addr netip.Addr) *device {
	zone := addr.Zone()
	addr = addr.Unmap().WithZone("")
	for _, d := range h.devices {
		for _, p := range d.cfg.Addrs {
			if p.Addr() == addr && (zone == "" || zone == d.cfg.Netdev) {
				return d
			}
		}
	}
	return nil
}

// route finds the local address and device from which dst is reached; from is the address
// that must be used, or the zero Addr.
func (h *Host) route(from, dst netip.Addr) (netip.Addr, *device, bool) {
	zone := dst.Zone()
	plain := dst.Unmap().WithZone("")
	for _, d := range h.devices {
		if zone != "" && zone != d.cfg.Netdev {
			continue
		}
		for _, p := range d.cfg.Addrs {
			local := p.Addr()
			if from.IsValid() && from.Unmap().WithZone("") != local {
				continue
			}
			if !p.Masked().Contains(plain) {
				continue
			}
			if local.IsLinkLocalUnicast() && local.Is6() {
				local = local.WithZone(d.cfg.Netdev)
			}
			return local, d, true
		}
	}
	return netip.Addr{}, nil, false
}

// guid makes a stable identifier of names.
func guid(parts ...string) rdma.GUID {
	f := fnv.New64a()
	for _, p := range parts {
		_, _ = f.Write([]byte(p))
		_, _ = f.Write([]byte{0})
	}
	return rdma.GUID(f.Sum64())
}

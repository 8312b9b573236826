package roce

import (
	"fmt"
	"net/netip"

	"catmint/soft-roce/internal/wire"
)

// Names of what Setup makes.
const (
	Device     = "rxe0"  // RDMA device
	NetDevice  = "roce0" // network device under it
	PeerDevice = "roce1" // other end of the veth pair, on a single host
)

// Addresses of the hosts. They come from the private range and from a unique local prefix, and lie
// inside the guests (or on a veth pair of our own), so they meet nothing outside.
const (
	prefix4 = "10.77.0."
	prefix6 = "fd77:ca7::"
)

// MTU limits in bytes: below the first IPv6 is off, the second is the largest IP datagram.
const (
	DefaultMTU = 4500 // carries RoCE's largest MTU, 4096, with its headers
	minMTU     = 1280
	maxMTU     = 65535
)

// PlanFor returns the network of a host: "a", which is alone unless peered, or "b".
func PlanFor(host string, peered bool, mtu int) (wire.Net, error) {
	own, peer := 1, 2
	switch host {
	case "a":
	case "b":
		own, peer = 2, 1
	default:
		return wire.Net{}, fmt.Errorf("no host is called %q: there are a and b", host)
	}
	if !peered {
		peer = own
	}
	if mtu == 0 {
		mtu = DefaultMTU
	}
	if mtu < minMTU || mtu > maxMTU {
		return wire.Net{}, fmt.Errorf("MTU %d is not within %d..%d", mtu, minMTU, maxMTU)
	}
	return wire.Net{
		Peered: peered,
		MTU:    mtu,
		Addr:   fmt.Sprintf("%s%d/24", prefix4, own),
		Peer:   fmt.Sprintf("%s%d", prefix4, peer),
		Addr6:  fmt.Sprintf("%s%d/64", prefix6, own),
		Peer6:  fmt.Sprintf("%s%d", prefix6, peer),
	}, nil
}

// Environment returns the variables that tell a command about its host.
func Environment(host string, net wire.Net) (map[string]string, error) {
	a4, err := netip.ParsePrefix(net.Addr)
	if err != nil {
		return nil, err
	}
	a6, err := netip.ParsePrefix(net.Addr6)
	if err != nil {
		return nil, err
	}
	hosts := "1"
	if net.Peered {
		hosts = "2"
	}
	return map[string]string{
		"SOFT_ROCE_HOST":   host,
		"SOFT_ROCE_HOSTS":  hosts,
		"SOFT_ROCE_ADDR":   a4.Addr().String(),
		"SOFT_ROCE_PEER":   net.Peer,
		"SOFT_ROCE_ADDR6":  a6.Addr().String(),
		"SOFT_ROCE_PEER6":  net.Peer6,
		"SOFT_ROCE_DEVICE": Device,
		"SOFT_ROCE_NETDEV": NetDevice,
	}, nil
}

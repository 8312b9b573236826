package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"catmint/rdma"
)

// reachedAt says at which addresses clients reach a server that listens on every one of a
// family: those of network devices that have an RDMA device. Empty if none is found, which is
// for others to complain about.
func reachedAt(f rdma.Fabric, every netip.Addr, addrsOf func(netdev string) []netip.Addr) string {
	devices, err := f.Devices()
	if err != nil {
		return ""
	}
	var ways []string
	for _, d := range devices {
		for _, netdev := range d.Netdevs {
			for _, a := range addrsOf(netdev) {
				if a.Is4() == every.Is4() && a.IsGlobalUnicast() {
					ways = append(ways, fmt.Sprintf("-a %s (%s)", a, d.Name))
				}
			}
		}
	}
	return strings.Join(ways, " or ")
}

// interfaceAddrs are the addresses of a network device; none if it has gone.
func interfaceAddrs(netdev string) []netip.Addr {
	i, err := net.InterfaceByName(netdev)
	if err != nil {
		return nil
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

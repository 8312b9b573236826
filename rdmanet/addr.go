package rdmanet

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Addr is an address in the port space of rdma_cm, which is not TCP's.
type Addr struct{ netip.AddrPort }

// Network is "rdma".
func (Addr) Network() string { return "rdma" }

// family is what a network's name asks for: the address family of a look-up. "tcp" is taken
// too, for libraries that know no other.
func family(network string) (string, error) {
	switch network {
	case "rdma", "tcp":
		return "ip", nil
	case "rdma4", "tcp4":
		return "ip4", nil
	case "rdma6", "tcp6":
		return "ip6", nil
	}
	return "", net.UnknownNetworkError(network)
}

// resolve finds the addresses of HOST:PORT, in the order in which to try them. Without a host
// it is the wildcard address: IPv4's, unless the network is IPv6.
func resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	ip, err := family(network)
	if err != nil {
		return nil, err
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{netip.IPv4Unspecified()}
	switch {
	case host != "":
		if addrs, err = net.DefaultResolver.LookupNetIP(ctx, ip, host); err != nil {
			return nil, err
		}
	case ip == "ip6":
		addrs[0] = netip.IPv6Unspecified()
	}
	out := make([]netip.AddrPort, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	return out, nil
}

func domain(at netip.AddrPort) int {
	if at.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

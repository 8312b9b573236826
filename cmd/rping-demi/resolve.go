package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// nameError is a host name or address that does not resolve.
type nameError struct {
	name string
	err  error
}

func (e *nameError) Error() string {
	return fmt.Sprintf("%s does not resolve: %v; check its spelling, or use a numeric address", e.name, e.err)
}

func (e *nameError) Unwrap() error { return e.err }

// loopbackError is a loopback address where one of a network is needed.
type loopbackError struct{ addr netip.Addr }

func (e *loopbackError) Error() string {
	return fmt.Sprintf("%s is a loopback address, and RDMA does not run over lo: use an address of a network "+
		"device that has an RDMA device (\"rdma link\" lists them), even to reach this same machine", e.addr)
}

// resolve turns a host name or numeric address into an address; the empty name is every
// IPv4 address of this machine. A scope goes after a %, as in fe80::1%eth0.
func resolve(ctx context.Context, name string, port uint16) (netip.AddrPort, error) {
	if name == "" {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), port), nil
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		addrs, lookupErr := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		if lookupErr != nil {
			return netip.AddrPort{}, &nameError{name, lookupErr}
		}
		addr = addrs[0]
	}
	addr = addr.Unmap()
	if addr.IsLoopback() {
		return netip.AddrPort{}, &loopbackError{addr}
	}
	return netip.AddrPortFrom(addr, port), nil
}

// resolveLocal is resolve for the address to connect from: invalid for any.
func resolveLocal(ctx context.Context, name string) (netip.AddrPort, error) {
	if name == "" {
		return netip.AddrPort{}, nil
	}
	return resolve(ctx, name, 0)
}

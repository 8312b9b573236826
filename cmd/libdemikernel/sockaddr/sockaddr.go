package sockaddr

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
)

// Sizes of the C structures in bytes.
const (
	FamilySize = 2
	SizeInet4  = 16
	SizeInet6  = 28
)

// Size returns the size of the structure of an address family, AF_INET or AF_INET6.
// EINVAL: any other family.
func Size(family uint16) (int, error) {
	switch family {
	case syscall.AF_INET:
		return SizeInet4, nil
	case syscall.AF_INET6:
		return SizeInet6, nil
	}
	return 0, syscall.EINVAL
}

// Parse reads a socket address whose claimed size is len(b). As in Demikernel, that must be
// the size of the family's structure exactly. The family is in host byte order, port and
// address in network byte order; a sin6_scope_id other than 0 becomes the zone, as a decimal
// interface index. sin6_flowinfo is not used.
//
// EINVAL: the family is unknown, or the size is not its structure's.
func Parse(b []byte) (netip.AddrPort, error) {
	if len(b) < FamilySize {
		return netip.AddrPort{}, syscall.EINVAL
	}
	family := binary.NativeEndian.Uint16(b)
	size, err := Size(family)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(b) != size {
		return netip.AddrPort{}, syscall.EINVAL
	}
	port := binary.BigEndian.Uint16(b[2:])
	if family == syscall.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port), nil
	}
	addr := netip.AddrFrom16([16]byte(b[8:24]))
	if scope := binary.NativeEndian.Uint32(b[24:]); scope != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return netip.AddrPortFrom(addr, port), nil
}

// Append appends the structure of ap to dst: sockaddr_in for an IPv4 address, sockaddr_in6
// for an IPv6 one, an IPv4-mapped one included. scope answers the interface index of a zone
// that is not a number; it may be nil, and such a zone then is 0.
//
// EINVAL: ap holds no address.
func Append(dst []byte, ap netip.AddrPort, scope func(zone string) uint32) ([]byte, error) {
	addr := ap.Addr()
	switch {
	case addr.Is4():
		dst = binary.NativeEndian.AppendUint16(dst, syscall.AF_INET)
		dst = binary.BigEndian.AppendUint16(dst, ap.Port())
		a := addr.As4()
		dst = append(dst, a[:]...)
		return append(dst, make([]byte, 8)...), nil
	case addr.Is6():
		dst = binary.NativeEndian.AppendUint16(dst, syscall.AF_INET6)
		dst = binary.BigEndian.AppendUint16(dst, ap.Port())
		dst = binary.BigEndian.AppendUint32(dst, 0)
		a := addr.As16()
		dst = append(dst, a[:]...)
		return binary.NativeEndian.AppendUint32(dst, scopeID(addr.Zone(), scope)), nil
	}
	return dst, syscall.EINVAL
}

func scopeID(zone string, scope func(string) uint32) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if scope == nil {
		return 0
	}
	return scope(zone)
}

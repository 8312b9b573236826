package rdma

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// encodeSockaddr writes a struct sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)): the family
// in host byte order, port and address in network byte order, the scope in host byte
// order. IPv4-mapped IPv6 addresses become IPv4. A zone is the name or the number of a
// network interface.
//
// Errors: EAFNOSUPPORT without an address, EADDRNOTAVAIL for an unknown zone.
func encodeSockaddr(ap netip.AddrPort) ([]byte, error) {
	addr := ap.Addr().Unmap()
	switch {
	case addr.Is4():
		b := make([]byte, unix.SizeofSockaddrInet4)
		binary.NativeEndian.PutUint16(b[0:], unix.AF_INET)
		binary.BigEndian.PutUint16(b[2:], ap.Port())
		ip := addr.As4()
		copy(b[4:], ip[:])
		return b, nil
	case addr.Is6():
		scope, err := zoneToScope(addr.Zone())
		if err != nil {
			return nil, err
		}
		b := make([]byte, unix.SizeofSockaddrInet6)
		binary.NativeEndian.PutUint16(b[0:], unix.AF_INET6)
		binary.BigEndian.PutUint16(b[2:], ap.Port())
		ip := addr.As16()
		copy(b[8:], ip[:])
		binary.NativeEndian.PutUint32(b[24:], scope)
		return b, nil
	default:
		return nil, syscall.EAFNOSUPPORT
	}
}

// decodeSockaddr reads a struct sockaddr_in or sockaddr_in6; anything else is the zero
// AddrPort. A scope becomes the zone with the interface's name, or its number if it has
// none any more.
func decodeSockaddr(b []byte) netip.AddrPort {
	if len(b) < 2 {
		return netip.AddrPort{}
	}
	family := binary.NativeEndian.Uint16(b)
	switch {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		addr := netip.AddrFrom16([16]byte(b[8:24]))
		if scope := binary.NativeEndian.Uint32(b[24:]); scope != 0 && addr.IsLinkLocalUnicast() {
			addr = addr.WithZone(scopeToZone(scope))
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[2:]))
	default:
		return netip.AddrPort{}
	}
}

func zoneToScope(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index), nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil && n != 0 {
		return uint32(n), nil
	}
	return 0, syscall.EADDRNOTAVAIL
}

func scopeToZone(scope uint32) string {
	if ifi, err := net.InterfaceByIndex(int(scope)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}

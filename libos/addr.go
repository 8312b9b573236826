package libos

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawSockaddrIn is the struct sockaddr_in that accept results and sga_addr carry: the
// family in host byte order, port and address in network byte order (ip(7)). An IPv6
// address does not fit: the family says AF_INET6, the port is set, the address is zero.
func rawSockaddrIn(a netip.AddrPort) (b [16]byte) {
	family := uint16(unix.AF_INET)
	addr := a.Addr().Unmap()
	if addr.Is6() {
		family = unix.AF_INET6
	}
	binary.NativeEndian.PutUint16(b[0:], family)
	binary.BigEndian.PutUint16(b[2:], a.Port())
	if addr.Is4() {
		v4 := addr.As4()
		copy(b[4:], v4[:])
	}
	return b
}

// checkFamily says whether an address can be used on a socket of a domain. EINVAL: no
// address, or one of another family.
func checkFamily(domain int, a netip.AddrPort) error {
	switch {
	case !a.Addr().IsValid():
		return syscall.EINVAL
	case domain == unix.AF_INET && !a.Addr().Unmap().Is4():
		return syscall.EINVAL
	case domain == unix.AF_INET6 && a.Addr().Is4():
		return syscall.EINVAL
	}
	return nil
}

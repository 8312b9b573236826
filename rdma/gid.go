package rdma

import "net/netip"

// GIDType is the protocol that a GID table entry stands for: enum ibv_gid_type of
// <infiniband/verbs.h>.
type GIDType int

// GID types.
const (
	GIDTypeIB GIDType = iota
	GIDTypeRoCEv1
	GIDTypeRoCEv2
)

var gidTypeNames = [...]string{
	GIDTypeIB:     "IB",
	GIDTypeRoCEv1: "RoCE v1",
	GIDTypeRoCEv2: "RoCE v2",
}

// String returns the protocol's name.
func (t GIDType) String() string { return enumName(gidTypeNames[:], int(t), "GIDType") }

// GID is a valid entry of a port's GID table. Entries come and go with the addresses of
// the network device, so an index must never be hard-coded.
type GID struct {
	Index int
	// Raw is the GID in network byte order.
	Raw  [16]byte
	Type GIDType
	// Netdev is the network device that the entry belongs to; empty if there is none, as
	// on InfiniBand.
	Netdev string
}

// Addr returns the GID as an IP address. On RoCE that is the address of the network
// device: IPv4 for IPv4-mapped GIDs, IPv6 otherwise, without a zone.
func (g GID) Addr() netip.Addr { return netip.AddrFrom16(g.Raw).Unmap() }

// String returns the GID in the notation of IPv6 addresses.
func (g GID) String() string { return netip.AddrFrom16(g.Raw).StringExpanded() }

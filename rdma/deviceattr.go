package rdma

import (
	"encoding/binary"
	"fmt"
)

// NodeType is what kind of node a device is: enum ibv_node_type of
// <infiniband/verbs.h>.
type NodeType int

// Node types.
const (
	NodeUnknown     NodeType = -1
	NodeCA          NodeType = 1 // channel adapter: InfiniBand and RoCE
	NodeSwitch      NodeType = 2
	NodeRouter      NodeType = 3
	NodeRNIC        NodeType = 4 // iWARP
	NodeUSNIC       NodeType = 5
	NodeUSNICUDP    NodeType = 6
	NodeUnspecified NodeType = 7
)

var nodeTypeNames = [...]string{
	NodeCA:          "CA",
	NodeSwitch:      "SWITCH",
	NodeRouter:      "ROUTER",
	NodeRNIC:        "RNIC",
	NodeUSNIC:       "USNIC",
	NodeUSNICUDP:    "USNIC_UDP",
	NodeUnspecified: "UNSPECIFIED",
}

// String returns the name in the C header without its prefix IBV_NODE_.
func (t NodeType) String() string {
	if t == NodeUnknown {
		return "UNKNOWN"
	}
	return enumName(nodeTypeNames[:], int(t), "NodeType")
}

// TransportType is what a device speaks: enum ibv_transport_type of
// <infiniband/verbs.h>. RoCE is TransportIB over Ethernet.
type TransportType int

// Transport types.
const (
	TransportUnknown     TransportType = -1
	TransportIB          TransportType = 0
	TransportIWARP       TransportType = 1
	TransportUSNIC       TransportType = 2
	TransportUSNICUDP    TransportType = 3
	TransportUnspecified TransportType = 4
)

var transportTypeNames = [...]string{
	TransportIB:          "IB",
	TransportIWARP:       "IWARP",
	TransportUSNIC:       "USNIC",
	TransportUSNICUDP:    "USNIC_UDP",
	TransportUnspecified: "UNSPECIFIED",
}

// String returns the name in the C header without its prefix IBV_TRANSPORT_.
func (t TransportType) String() string {
	if t == TransportUnknown {
		return "UNKNOWN"
	}
	return enumName(transportTypeNames[:], int(t), "TransportType")
}

// GUID is a 64-bit identifier of a node, in host byte order.
type GUID uint64

// String returns the GUID as sysfs and the rdma tool write it, 0011:2233:4455:6677.
func (g GUID) String() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(g))
	return fmt.Sprintf("%02x%02x:%02x%02x:%02x%02x:%02x%02x",
		b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7])
}

// DeviceInfo is what can be said of a device without holding it open.
type DeviceInfo struct {
	Name      string // such as mlx5_0 or rxe0
	NodeType  NodeType
	Transport TransportType
	NodeGUID  GUID
	NumPorts  int
	// Netdevs are the network devices that it serves, in the order of its GID table;
	// empty for InfiniBand without IPoIB.
	Netdevs []string
}

// DeviceAttr says what a device can do; struct ibv_device_attr, ibv_query_device(3).
type DeviceAttr struct {
	Transport       TransportType // of struct ibv_device
	FWVer           string
	NodeGUID        GUID
	SysImageGUID    GUID
	VendorID        uint32
	VendorPartID    uint32
	HWVer           uint32
	NumPorts        int
	MaxMRSize       uint64 // bytes of one memory region
	PageSizeCap     uint64 // a set of page sizes in bytes
	MaxQP           int
	MaxQPWR         int // work requests in one queue
	MaxSGE          int // scatter/gather elements of a send or receive
	MaxSGERd        int // of an RDMA READ
	MaxCQ           int
	MaxCQE          int // completions in one queue
	MaxMR           int
	MaxPD           int
	MaxQPRdAtom     int // READs and atomics that a queue pair answers at once
	MaxQPInitRdAtom int // and that it has under way at once
	MaxResRdAtom    int // that the device answers at once
	MaxSRQ          int
	MaxSRQWR        int
	MaxSRQSGE       int
	MaxPKeys        int
	// LocalCAAckDelay is the device's own delay of an ACK: 4.096 us * 2^delay.
	LocalCAAckDelay uint8
}

// Vendor ids: those that the kernel's software devices report (rxe_param.h and siw.h), and of PCI.
const (
	vendorRXE      = 0xffffff
	vendorSIW      = 0x626d74
	vendorMellanox = 0x02c9
	vendorHuawei   = 0x19e5
)

// Software tells whether the device is one of the kernel's own, Soft-RoCE or Soft-iWARP, whose
// providers enter the kernel to post a send.
func (a DeviceAttr) Software() bool { return a.VendorID == vendorRXE || a.VendorID == vendorSIW }

// sendOps tells whether the device's provider is asked for ibv_wr_start(3). Others have it too, but
// these are known to be used by it, mlx5 and hns by perftest, rxe by tests of this package.
func (a DeviceAttr) sendOps() bool {
	return a.VendorID == vendorMellanox || a.VendorID == vendorHuawei || a.VendorID == vendorRXE
}

package rdma

import "fmt"

// PortState is the logical state of a port: enum ibv_port_state of
// <infiniband/verbs.h>; ibv_query_port(3).
type PortState int

// Port states.
const (
	PortNop PortState = iota
	PortDown
	PortInit
	PortArmed
	PortActive
	PortActiveDefer
)

var portStateNames = [...]string{
	PortNop:         "NOP",
	PortDown:        "DOWN",
	PortInit:        "INIT",
	PortArmed:       "ARMED",
	PortActive:      "ACTIVE",
	PortActiveDefer: "ACTIVE_DEFER",
}

// String returns the name in the C header without its prefix IBV_PORT_.
func (s PortState) String() string { return enumName(portStateNames[:], int(s), "PortState") }

// LinkLayer is what a port runs over: IBV_LINK_LAYER_* of <infiniband/verbs.h>.
type LinkLayer int

// Link layers.
const (
	LinkLayerUnspecified LinkLayer = iota
	LinkLayerInfiniBand
	LinkLayerEthernet
)

var linkLayerNames = [...]string{
	LinkLayerUnspecified: "unspecified",
	LinkLayerInfiniBand:  "InfiniBand",
	LinkLayerEthernet:    "Ethernet",
}

// String returns the link layer's name.
func (l LinkLayer) String() string { return enumName(linkLayerNames[:], int(l), "LinkLayer") }

// MTU is a path MTU code: enum ibv_mtu of <infiniband/verbs.h>.
type MTU int

// Path MTUs.
const (
	MTU256  MTU = 1
	MTU512  MTU = 2
	MTU1024 MTU = 3
	MTU2048 MTU = 4
	MTU4096 MTU = 5
)

// Bytes returns the MTU in bytes, 0 for a code that is none.
func (m MTU) Bytes() int {
	if m < MTU256 || m > MTU4096 {
		return 0
	}
	return 128 << m
}

// String returns the size in bytes.
func (m MTU) String() string {
	if n := m.Bytes(); n != 0 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("MTU(%d)", int(m))
}

// PortAttr says what a port is and can do; struct ibv_port_attr, ibv_query_port(3).
type PortAttr struct {
	State       PortState
	LinkLayer   LinkLayer
	MaxMTU      MTU
	ActiveMTU   MTU
	GIDTableLen int
	// MaxMsgSize is the largest message, in bytes. A larger transfer must be split.
	MaxMsgSize  uint32
	LID         uint16 // 0 on Ethernet
	ActiveWidth uint8  // code of ibv_query_port(3)
	ActiveSpeed uint8  // code of ibv_query_port(3)
}

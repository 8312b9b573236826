package rdma

import "fmt"

// CMEvent is the type of a connection manager event: enum rdma_cm_event_type of
// <rdma/rdma_cma.h>; rdma_get_cm_event(3) says what each one means.
type CMEvent int

// The connection manager's events.
const (
	AddrResolved CMEvent = iota
	AddrError
	RouteResolved
	RouteError
	ConnectRequest
	ConnectResponse
	ConnectError
	Unreachable
	Rejected
	Established
	Disconnected
	DeviceRemoval
	MulticastJoin
	MulticastError
	AddrChange
	TimewaitExit
)

var cmEventNames = [...]string{
	AddrResolved:    "ADDR_RESOLVED",
	AddrError:       "ADDR_ERROR",
	RouteResolved:   "ROUTE_RESOLVED",
	RouteError:      "ROUTE_ERROR",
	ConnectRequest:  "CONNECT_REQUEST",
	ConnectResponse: "CONNECT_RESPONSE",
	ConnectError:    "CONNECT_ERROR",
	Unreachable:     "UNREACHABLE",
	Rejected:        "REJECTED",
	Established:     "ESTABLISHED",
	Disconnected:    "DISCONNECTED",
	DeviceRemoval:   "DEVICE_REMOVAL",
	MulticastJoin:   "MULTICAST_JOIN",
	MulticastError:  "MULTICAST_ERROR",
	AddrChange:      "ADDR_CHANGE",
	TimewaitExit:    "TIMEWAIT_EXIT",
}

// String returns the name in the C header without its prefix RDMA_CM_EVENT_.
func (e CMEvent) String() string { return enumName(cmEventNames[:], int(e), "CMEvent") }

// enumName looks a value up in a table of names that may have gaps.
func enumName(names []string, value int, typeName string) string {
	if value >= 0 && value < len(names) && names[value] != "" {
		return names[value]
	}
	return fmt.Sprintf("%s(%d)", typeName, value)
}

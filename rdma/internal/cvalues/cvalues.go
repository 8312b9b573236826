// Package cvalues holds the constants of the installed C headers, for the tests of
// package rdma: _test.go files cannot import "C". The names are those of the headers
// without the prefix that the tables' comments give.
//
// What must not live here: anything that the product uses.
package cvalues

// #include <infiniband/verbs.h>
// #include <rdma/rdma_cma.h>
import "C"

// CMEvents holds enum rdma_cm_event_type, prefix RDMA_CM_EVENT_.
var CMEvents = map[string]int{
	"ADDR_RESOLVED":    C.RDMA_CM_EVENT_ADDR_RESOLVED,
	"ADDR_ERROR":       C.RDMA_CM_EVENT_ADDR_ERROR,
	"ROUTE_RESOLVED":   C.RDMA_CM_EVENT_ROUTE_RESOLVED,
	"ROUTE_ERROR":      C.RDMA_CM_EVENT_ROUTE_ERROR,
	"CONNECT_REQUEST":  C.RDMA_CM_EVENT_CONNECT_REQUEST,
	"CONNECT_RESPONSE": C.RDMA_CM_EVENT_CONNECT_RESPONSE,
	"CONNECT_ERROR":    C.RDMA_CM_EVENT_CONNECT_ERROR,
	"UNREACHABLE":      C.RDMA_CM_EVENT_UNREACHABLE,
	"REJECTED":         C.RDMA_CM_EVENT_REJECTED,
	"ESTABLISHED":      C.RDMA_CM_EVENT_ESTABLISHED,
	"DISCONNECTED":     C.RDMA_CM_EVENT_DISCONNECTED,
	"DEVICE_REMOVAL":   C.RDMA_CM_EVENT_DEVICE_REMOVAL,
	"MULTICAST_JOIN":   C.RDMA_CM_EVENT_MULTICAST_JOIN,
	"MULTICAST_ERROR":  C.RDMA_CM_EVENT_MULTICAST_ERROR,
	"ADDR_CHANGE":      C.RDMA_CM_EVENT_ADDR_CHANGE,
	"TIMEWAIT_EXIT":    C.RDMA_CM_EVENT_TIMEWAIT_EXIT,
}

// WCStatuses holds enum ibv_wc_status, prefix IBV_WC_.
var WCStatuses = map[string]int{
	"SUCCESS":            C.IBV_WC_SUCCESS,
	"LOC_LEN_ERR":        C.IBV_WC_LOC_LEN_ERR,
	"LOC_QP_OP_ERR":      C.IBV_WC_LOC_QP_OP_ERR,
	"LOC_EEC_OP_ERR":     C.IBV_WC_LOC_EEC_OP_ERR,
	"LOC_PROT_ERR":       C.IBV_WC_LOC_PROT_ERR,
	"WR_FLUSH_ERR":       C.IBV_WC_WR_FLUSH_ERR,
	"MW_BIND_ERR":        C.IBV_WC_MW_BIND_ERR,
	"BAD_RESP_ERR":       C.IBV_WC_BAD_RESP_ERR,
	"LOC_ACCESS_ERR":     C.IBV_WC_LOC_ACCESS_ERR,
	"REM_INV_REQ_ERR":    C.IBV_WC_REM_INV_REQ_ERR,
	"REM_ACCESS_ERR":     C.IBV_WC_REM_ACCESS_ERR,
	"REM_OP_ERR":         C.IBV_WC_REM_OP_ERR,
	"RETRY_EXC_ERR":      C.IBV_WC_RETRY_EXC_ERR,
	"RNR_RETRY_EXC_ERR":  C.IBV_WC_RNR_RETRY_EXC_ERR,
	"LOC_RDD_VIOL_ERR":   C.IBV_WC_LOC_RDD_VIOL_ERR,
	"REM_INV_RD_REQ_ERR": C.IBV_WC_REM_INV_RD_REQ_ERR,
	"REM_ABORT_ERR":      C.IBV_WC_REM_ABORT_ERR,
	"INV_EECN_ERR":       C.IBV_WC_INV_EECN_ERR,
	"INV_EEC_STATE_ERR":  C.IBV_WC_INV_EEC_STATE_ERR,
	"FATAL_ERR":          C.IBV_WC_FATAL_ERR,
	"RESP_TIMEOUT_ERR":   C.IBV_WC_RESP_TIMEOUT_ERR,
	"GENERAL_ERR":        C.IBV_WC_GENERAL_ERR,
	"TM_ERR":             C.IBV_WC_TM_ERR,
	"TM_RNDV_INCOMPLETE": C.IBV_WC_TM_RNDV_INCOMPLETE,
}

// WCOpcodes holds enum ibv_wc_opcode, prefix IBV_WC_.
var WCOpcodes = map[string]int{
	"SEND":               C.IBV_WC_SEND,
	"RDMA_WRITE":         C.IBV_WC_RDMA_WRITE,
	"RDMA_READ":          C.IBV_WC_RDMA_READ,
	"COMP_SWAP":          C.IBV_WC_COMP_SWAP,
	"FETCH_ADD":          C.IBV_WC_FETCH_ADD,
	"BIND_MW":            C.IBV_WC_BIND_MW,
	"LOCAL_INV":          C.IBV_WC_LOCAL_INV,
	"TSO":                C.IBV_WC_TSO,
	"ATOMIC_WRITE":       C.IBV_WC_ATOMIC_WRITE,
	"RECV":               C.IBV_WC_RECV,
	"RECV_RDMA_WITH_IMM": C.IBV_WC_RECV_RDMA_WITH_IMM,
	"TM_ADD":             C.IBV_WC_TM_ADD,
	"TM_DEL":             C.IBV_WC_TM_DEL,
	"TM_SYNC":            C.IBV_WC_TM_SYNC,
	"TM_RECV":            C.IBV_WC_TM_RECV,
	"TM_NO_TAG":          C.IBV_WC_TM_NO_TAG,
	"DRIVER1":            C.IBV_WC_DRIVER1,
	"DRIVER2":            C.IBV_WC_DRIVER2,
	"DRIVER3":            C.IBV_WC_DRIVER3,
}

// QPStates holds enum ibv_qp_state, prefix IBV_QPS_.
var QPStates = map[string]int{
	"RESET":   C.IBV_QPS_RESET,
	"INIT":    C.IBV_QPS_INIT,
	"RTR":     C.IBV_QPS_RTR,
	"RTS":     C.IBV_QPS_RTS,
	"SQD":     C.IBV_QPS_SQD,
	"SQE":     C.IBV_QPS_SQE,
	"ERR":     C.IBV_QPS_ERR,
	"UNKNOWN": C.IBV_QPS_UNKNOWN,
}

// AsyncEvents holds enum ibv_event_type, prefix IBV_EVENT_.
var AsyncEvents = map[string]int{
	"CQ_ERR":              C.IBV_EVENT_CQ_ERR,
	"QP_FATAL":            C.IBV_EVENT_QP_FATAL,
	"QP_REQ_ERR":          C.IBV_EVENT_QP_REQ_ERR,
	"QP_ACCESS_ERR":       C.IBV_EVENT_QP_ACCESS_ERR,
	"COMM_EST":            C.IBV_EVENT_COMM_EST,
	"SQ_DRAINED":          C.IBV_EVENT_SQ_DRAINED,
	"PATH_MIG":            C.IBV_EVENT_PATH_MIG,
	"PATH_MIG_ERR":        C.IBV_EVENT_PATH_MIG_ERR,
	"DEVICE_FATAL":        C.IBV_EVENT_DEVICE_FATAL,
	"PORT_ACTIVE":         C.IBV_EVENT_PORT_ACTIVE,
	"PORT_ERR":            C.IBV_EVENT_PORT_ERR,
	"LID_CHANGE":          C.IBV_EVENT_LID_CHANGE,
	"PKEY_CHANGE":         C.IBV_EVENT_PKEY_CHANGE,
	"SM_CHANGE":           C.IBV_EVENT_SM_CHANGE,
	"SRQ_ERR":             C.IBV_EVENT_SRQ_ERR,
	"SRQ_LIMIT_REACHED":   C.IBV_EVENT_SRQ_LIMIT_REACHED,
	"QP_LAST_WQE_REACHED": C.IBV_EVENT_QP_LAST_WQE_REACHED,
	"CLIENT_REREGISTER":   C.IBV_EVENT_CLIENT_REREGISTER,
	"GID_CHANGE":          C.IBV_EVENT_GID_CHANGE,
	"WQ_FATAL":            C.IBV_EVENT_WQ_FATAL,
}

// PortStates holds enum ibv_port_state, prefix IBV_PORT_.
var PortStates = map[string]int{
	"NOP":          C.IBV_PORT_NOP,
	"DOWN":         C.IBV_PORT_DOWN,
	"INIT":         C.IBV_PORT_INIT,
	"ARMED":        C.IBV_PORT_ARMED,
	"ACTIVE":       C.IBV_PORT_ACTIVE,
	"ACTIVE_DEFER": C.IBV_PORT_ACTIVE_DEFER,
}

// NodeTypes holds enum ibv_node_type, prefix IBV_NODE_.
var NodeTypes = map[string]int{
	"UNKNOWN":     C.IBV_NODE_UNKNOWN,
	"CA":          C.IBV_NODE_CA,
	"SWITCH":      C.IBV_NODE_SWITCH,
	"ROUTER":      C.IBV_NODE_ROUTER,
	"RNIC":        C.IBV_NODE_RNIC,
	"USNIC":       C.IBV_NODE_USNIC,
	"USNIC_UDP":   C.IBV_NODE_USNIC_UDP,
	"UNSPECIFIED": C.IBV_NODE_UNSPECIFIED,
}

// TransportTypes holds enum ibv_transport_type, prefix IBV_TRANSPORT_.
var TransportTypes = map[string]int{
	"UNKNOWN":     C.IBV_TRANSPORT_UNKNOWN,
	"IB":          C.IBV_TRANSPORT_IB,
	"IWARP":       C.IBV_TRANSPORT_IWARP,
	"USNIC":       C.IBV_TRANSPORT_USNIC,
	"USNIC_UDP":   C.IBV_TRANSPORT_USNIC_UDP,
	"UNSPECIFIED": C.IBV_TRANSPORT_UNSPECIFIED,
}

// LinkLayers holds IBV_LINK_LAYER_*, prefix IBV_LINK_LAYER_.
var LinkLayers = map[string]int{
	"UNSPECIFIED": C.IBV_LINK_LAYER_UNSPECIFIED,
	"INFINIBAND":  C.IBV_LINK_LAYER_INFINIBAND,
	"ETHERNET":    C.IBV_LINK_LAYER_ETHERNET,
}

// MTUs holds enum ibv_mtu, prefix IBV_MTU_.
var MTUs = map[string]int{
	"256":  C.IBV_MTU_256,
	"512":  C.IBV_MTU_512,
	"1024": C.IBV_MTU_1024,
	"2048": C.IBV_MTU_2048,
	"4096": C.IBV_MTU_4096,
}

// GIDTypes holds enum ibv_gid_type, prefix IBV_GID_TYPE_.
var GIDTypes = map[string]int{
	"IB":      C.IBV_GID_TYPE_IB,
	"ROCE_V1": C.IBV_GID_TYPE_ROCE_V1,
	"ROCE_V2": C.IBV_GID_TYPE_ROCE_V2,
}

// AccessFlags holds enum ibv_access_flags, prefix IBV_ACCESS_.
var AccessFlags = map[string]int{
	"LOCAL_WRITE":      C.IBV_ACCESS_LOCAL_WRITE,
	"REMOTE_WRITE":     C.IBV_ACCESS_REMOTE_WRITE,
	"REMOTE_READ":      C.IBV_ACCESS_REMOTE_READ,
	"REMOTE_ATOMIC":    C.IBV_ACCESS_REMOTE_ATOMIC,
	"MW_BIND":          C.IBV_ACCESS_MW_BIND,
	"ZERO_BASED":       C.IBV_ACCESS_ZERO_BASED,
	"ON_DEMAND":        C.IBV_ACCESS_ON_DEMAND,
	"HUGETLB":          C.IBV_ACCESS_HUGETLB,
	"RELAXED_ORDERING": C.IBV_ACCESS_RELAXED_ORDERING,
}

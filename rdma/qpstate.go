package rdma

// QPState is the state of a queue pair: enum ibv_qp_state of <infiniband/verbs.h>;
// ibv_modify_qp(3).
type QPState int

// Queue pair states.
const (
	QPReset QPState = iota
	QPInit
	QPRTR // ready to receive
	QPRTS // ready to send
	QPSQD // send queue drained
	QPSQE // send queue error
	QPErr
	QPUnknown
)

var qpStateNames = [...]string{
	QPReset:   "RESET",
	QPInit:    "INIT",
	QPRTR:     "RTR",
	QPRTS:     "RTS",
	QPSQD:     "SQD",
	QPSQE:     "SQE",
	QPErr:     "ERR",
	QPUnknown: "UNKNOWN",
}

// String returns the name in the C header without its prefix IBV_QPS_.
func (s QPState) String() string { return enumName(qpStateNames[:], int(s), "QPState") }

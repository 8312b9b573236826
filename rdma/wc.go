package rdma

// WCStatus is the status of a work completion: enum ibv_wc_status of
// <infiniband/verbs.h>; ibv_poll_cq(3).
type WCStatus int

// Work completion statuses.
const (
	WCSuccess WCStatus = iota
	WCLocLenErr
	WCLocQPOpErr
	WCLocEECOpErr
	WCLocProtErr
	WCWRFlushErr
	WCMWBindErr
	WCBadRespErr
	WCLocAccessErr
	WCRemInvReqErr
	WCRemAccessErr
	WCRemOpErr
	WCRetryExcErr
	WCRNRRetryExcErr
	WCLocRDDViolErr
	WCRemInvRDReqErr
	WCRemAbortErr
	WCInvEECNErr
	WCInvEECStateErr
	WCFatalErr
	WCRespTimeoutErr
	WCGeneralErr
	WCTMErr
	WCTMRndvIncomplete
)

var wcStatusNames = [...]string{
	WCSuccess:          "SUCCESS",
	WCLocLenErr:        "LOC_LEN_ERR",
	WCLocQPOpErr:       "LOC_QP_OP_ERR",
	WCLocEECOpErr:      "LOC_EEC_OP_ERR",
	WCLocProtErr:       "LOC_PROT_ERR",
	WCWRFlushErr:       "WR_FLUSH_ERR",
	WCMWBindErr:        "MW_BIND_ERR",
	WCBadRespErr:       "BAD_RESP_ERR",
	WCLocAccessErr:     "LOC_ACCESS_ERR",
	WCRemInvReqErr:     "REM_INV_REQ_ERR",
	WCRemAccessErr:     "REM_ACCESS_ERR",
	WCRemOpErr:         "REM_OP_ERR",
	WCRetryExcErr:      "RETRY_EXC_ERR",
	WCRNRRetryExcErr:   "RNR_RETRY_EXC_ERR",
	WCLocRDDViolErr:    "LOC_RDD_VIOL_ERR",
	WCRemInvRDReqErr:   "REM_INV_RD_REQ_ERR",
	WCRemAbortErr:      "REM_ABORT_ERR",
	WCInvEECNErr:       "INV_EECN_ERR",
	WCInvEECStateErr:   "INV_EEC_STATE_ERR",
	WCFatalErr:         "FATAL_ERR",
	WCRespTimeoutErr:   "RESP_TIMEOUT_ERR",
	WCGeneralErr:       "GENERAL_ERR",
	WCTMErr:            "TM_ERR",
	WCTMRndvIncomplete: "TM_RNDV_INCOMPLETE",
}

// String returns the name in the C header without its prefix IBV_WC_.
func (s WCStatus) String() string { return enumName(wcStatusNames[:], int(s), "WCStatus") }

// WCOpcode is what a work completion completed: enum ibv_wc_opcode of
// <infiniband/verbs.h>. It means nothing where the status is an error.
type WCOpcode int

// Work completion opcodes. Receives have the bit WCRecv set.
const (
	WCSend        WCOpcode = 0
	WCRDMAWrite   WCOpcode = 1
	WCRDMARead    WCOpcode = 2
	WCCompSwap    WCOpcode = 3
	WCFetchAdd    WCOpcode = 4
	WCBindMW      WCOpcode = 5
	WCLocalInv    WCOpcode = 6
	WCTSO         WCOpcode = 7
	WCAtomicWrite WCOpcode = 9

	WCRecv            WCOpcode = 128
	WCRecvRDMAWithImm WCOpcode = 129
	WCTMAdd           WCOpcode = 130
	WCTMDel           WCOpcode = 131
	WCTMSync          WCOpcode = 132
	WCTMRecv          WCOpcode = 133
	WCTMNoTag         WCOpcode = 134
	WCDriver1         WCOpcode = 135
	WCDriver2         WCOpcode = 136
	WCDriver3         WCOpcode = 137
)

var wcOpcodeNames = [...]string{
	WCSend:            "SEND",
	WCRDMAWrite:       "RDMA_WRITE",
	WCRDMARead:        "RDMA_READ",
	WCCompSwap:        "COMP_SWAP",
	WCFetchAdd:        "FETCH_ADD",
	WCBindMW:          "BIND_MW",
	WCLocalInv:        "LOCAL_INV",
	WCTSO:             "TSO",
	WCAtomicWrite:     "ATOMIC_WRITE",
	WCRecv:            "RECV",
	WCRecvRDMAWithImm: "RECV_RDMA_WITH_IMM",
	WCTMAdd:           "TM_ADD",
	WCTMDel:           "TM_DEL",
	WCTMSync:          "TM_SYNC",
	WCTMRecv:          "TM_RECV",
	WCTMNoTag:         "TM_NO_TAG",
	WCDriver1:         "DRIVER1",
	WCDriver2:         "DRIVER2",
	WCDriver3:         "DRIVER3",
}

// String returns the name in the C header without its prefix IBV_WC_.
func (o WCOpcode) String() string { return enumName(wcOpcodeNames[:], int(o), "WCOpcode") }

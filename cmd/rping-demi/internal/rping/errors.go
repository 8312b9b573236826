package rping

import (
	"fmt"
	"syscall"

	"catmint/rdma"
)

// errReset is how libos says that the peer disconnected.
const errReset = syscall.ECONNRESET

// statusError is a work completion that failed, in words. Soft-RoCE finds that a message
// does not fit when it copies it, and then says that the receive is malformed.
func statusError(s rdma.WCStatus, receive bool) error {
	if receive && s == rdma.WCLocQPOpErr {
		s = rdma.WCLocLenErr
	}
	switch s {
	case rdma.WCWRFlushErr:
		return ErrDisconnected
	case rdma.WCRetryExcErr:
		return fmt.Errorf("%w (%v): its host or the link to it is down", ErrSilent, s)
	case rdma.WCLocLenErr:
		return fmt.Errorf("%w: a message came that is longer than rping's (%v)", ErrProtocol, s)
	case rdma.WCRemAccessErr:
		return fmt.Errorf("the peer refuses access to the memory that it has advertised, or has died (%v)", s)
	case rdma.WCRemOpErr:
		return fmt.Errorf("the peer cannot complete the operation, or has died (%v)", s)
	default:
		return fmt.Errorf("work completion with status %v", s)
	}
}

// StepError is an exchange that ended in the middle: what was under way, and why.
type StepError struct {
	Step string
	Err  error
}

func (e *StepError) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *StepError) Unwrap() error { return e.Err }

func during(step string, err error) error {
	if err == nil {
		return nil
	}
	return &StepError{step, err}
}

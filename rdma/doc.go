// Package rdma is the typed binding of libibverbs and librdmacm: devices, ports, GIDs,
// protection domains, memory regions, completion queues, queue pairs, connection
// identifiers, their events, and the errors of all of these.
//
// What lives here: one topic a file, the types and their constants, the interfaces that
// the control plane is written against ([Fabric] and what it makes), and the hardware
// fabric behind them ([NewHardware]), which serves NICs and Soft-RoCE alike, and moves the
// queue pairs that ids have taken (taken_shim.h). It is the
// only package that includes <rdma/rdma_cma.h>. Package rdma/sim implements the same
// interfaces in process.
//
// What must not live here: connection policy (libos), and anything that happens once per
// message (datapath). The few slow operations that the data plane needs on verbs objects
// are handed to it as a C table, slowops.h.
//
// # Ownership
//
// Each object has exactly one owner, who calls Close. Close is idempotent: a second call
// does nothing and returns nil. Closing an object that others still depend on returns an
// error that unwraps to EBUSY and changes nothing. Package rdma/rdmatest reports objects
// that a test left open, with the stack that made them.
//
// # Threads
//
// All calls on an event channel and its ids belong to one goroutine at a time, its loop, except
// where a method says otherwise. Devices and what is made from them may be used from any
// goroutine; no object may be used while it is being closed.
//
// # Errors
//
// A failed operation returns an [*OpError], which unwraps to a syscall.Errno. errno is
// taken inside the C call that sets it. [Hint] tells the user what to do about an error.
package rdma

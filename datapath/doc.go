// Package datapath is the data plane: everything that happens once per message. A C engine
// frames, sends, receives, counts credits, completes queue tokens and lets callers wait for
// them; the Go files are a thin wrapper around datapath.h, one to one, for the control
// plane (package libos) and for Go programs.
//
// What lives here: engines, completion queues and their budgets, the queue-descriptor
// table, connections that are established, push, pop, wait, registered memory, and the
// demi_* functions of the data plane, which C programs call without entering Go.
//
// What must not: anything that happens once per connection or process (addresses, CM
// events, socket states, options, configuration, logging), which is libos's; calls into
// librdmacm, or into libibverbs beyond the inline ones (rdma's); calls from C into Go.
//
// Where to read: datapath.h is the contract, structs.h the structures, internal.h who does what,
// fast*.h and fast_*.c what happens to nearly every message; the others are the
// general ways.
// engine.c, device.c, qd.c and token.c keep the tables; poll.c takes completions, send.c
// and recv.c act on them by the rules of wire/, rendezvous.c fetches large messages, close.c ends connections, conn.c begins
// them and forgets them; wait.c is how threads sleep, notice.c what Go is told; demi.c is
// what C programs call. ctest/ holds the tests of all that, which run without Go.
//
// Every function may be called from any goroutine or thread. Errors are syscall.Errno
// values; those of functions that allocate say in their documentation what they mean.
package datapath

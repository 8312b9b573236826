// Interop runs rping-demi against rdma-core's own rping on a Soft-RoCE host (make
// test-interop), in both directions, against itself, and against programs that speak neither
// of its protocols, and prints a table of what passed, and last "N passed, N failed".
//
// scenarios.go has stock rping on the other side, ours.go rping-demi, strangers.go others;
// harm.go kills and interrupts. The long form (make test-interop, make test-all) has every size
// from rping's 23 bytes to 1 GiB between two of ours, for which the host needs 7 GiB of memory;
// --short (make test) has the limits of rping's sizes, and ours up to 1 MiB. --only TEXT runs the
// scenarios whose name contains it: make test-interop INTEROP_FLAGS="--only killed". Another kernel:
// make test-interop SOFT_ROCE_FLAGS="--kernel 6.1".
//
// What lives here: the scenarios and what they run. What must not: the protocol itself,
// which is tested where it lives, without a device.
package main

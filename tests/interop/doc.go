// Interop runs rping-demi against rdma-core's own rping on a Soft-RoCE host (make
// test-interop), in both directions, and prints a table of what passed.
//
// What lives here: the scenarios and what they run. What must not: the protocol itself,
// which is tested where it lives, without a device.
package main

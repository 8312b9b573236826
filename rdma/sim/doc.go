// Package sim is an RDMA network inside the process: hosts with devices and addresses,
// a connection manager that behaves as rdma_cm does on RoCE, and reliable-connected queue
// pairs. It implements the interfaces of package rdma ([catmint/rdma.Fabric] and what it
// makes) without a kernel driver, and makes every fault that a test may want.
//
// What lives here: the data verbs in C (sim.h and the sim_*.c files), which compile and run
// without Go; on top of them, in Go, hosts and devices (network.go, host.go, device.go),
// the connection manager (channel.go, id.go, address.go, cm.go, wire.go), the clock (clock.go)
// and faults (fault.go). What must not live here: anything that needs a real device, and any knowledge
// of Catmint's own protocol.
//
// # Time
//
// Events come at once, in the goroutine that causes them; nothing sleeps. Only what waits
// for time in reality (retransmission of a lost CM message, TIMEWAIT_EXIT, late events) is
// bound to the network's clock, which stands still until [Network.Advance] moves it, or runs
// by itself when [Config].RealTime says so.
//
// # Sources
//
// The connection manager follows rdma_cm(7), the pages of its functions, the kernel's
// drivers/infiniband/core/cm.c, cma.c and ucma.c, and rdma-core's librdmacm/cma.c; the wire
// states are those of the InfiniBand Architecture Specification, volume 1, section 12.9.
// testdata/story.txt is what Soft-RoCE answers to a fixed course of calls; the tests play it
// here and, with build tag rdma, on a device.
package sim

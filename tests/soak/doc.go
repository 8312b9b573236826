// Package soak sets up and tears down connections in storms: thousands one after the other, a
// thousand alive at once, and dozens of clients connecting while some of them are killed. What
// is measured is compared within one run; what is alive afterwards must be what was before.
//
// The storms are in storm_test.go, over a Fabric: sim_test.go runs them on the simulated one,
// and with the tag rdma device_rdma_test.go on a Soft-RoCE host, in full unless the tests are
// told to be short. What must not live here: rules about one connection (package libos).
package soak

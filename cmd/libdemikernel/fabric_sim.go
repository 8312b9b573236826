//go:build demisim

package main

// #include <stdlib.h>
// #include <string.h>
import "C"

import (
	"net/netip"
	"unsafe"

	"catmint/internal/background"
	"catmint/rdma"
	"catmint/rdma/sim"
)

// testVariables are those that only libraries built for tests read.
var testVariables = []string{"DEMI_FABRIC", "DEMI_PANIC"}

// Tests let the library panic: the program puts DEMI_PANIC into its environment (putenv) and
// writes the name of a place (background.Checkpoint) behind the = when it wants it to.
func init() {
	variable := C.CString("DEMI_PANIC")
	background.Order(func(name string) bool {
		place := C.getenv(variable)
		if place == nil || *place == 0 {
			return false
		}
		want := C.CString(name)
		defer C.free(unsafe.Pointer(want))
		return C.strcmp(place, want) == 0
	})
}

// newFabric of a library built for tests (scripts/build-lib.sh -tags demisim): with
// DEMI_FABRIC=sim it runs on a simulated device of its own, whose addresses are 10.0.0.1
// and 2001:db8::1, so that a C program can talk to itself without an RDMA device.
func newFabric(getenv func(string) string) (rdma.Fabric, error) {
	if getenv("DEMI_FABRIC") != "sim" {
		return rdma.NewHardware(), nil
	}
	return sim.New(sim.Config{RealTime: true}).AddHost("program", sim.DeviceConfig{
		Name: "sim0",
		Addrs: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.1/24"),
			netip.MustParsePrefix("2001:db8::1/64"),
		},
	}), nil
}

//go:build demisim

package main

import (
	"net/netip"

	"catmint/rdma"
	"catmint/rdma/sim"
)

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

//go:build !demisim

package main

import "catmint/rdma"

// testVariables are those that only libraries built for tests read.
var testVariables []string

// newFabric is what the library runs on: NICs and Soft-RoCE.
func newFabric(func(string) string) (rdma.Fabric, error) { return rdma.NewHardware(), nil }

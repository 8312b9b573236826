//go:build !demisim

package main

import "catmint/rdma"

// newFabric is what the library runs on: NICs and Soft-RoCE.
func newFabric(func(string) string) (rdma.Fabric, error) { return rdma.NewHardware(), nil }

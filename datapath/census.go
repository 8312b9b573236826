package datapath

// #include "datapath.h"
import "C"

// Census counts what is alive in the process, for tests and statistics.
type Census struct {
	Engines, Devices, CQs, Conns, Descriptors, Tokens uint64
	Blocks                                            uint64 // arena blocks in use, receives included
	Regions                                           uint64 // memory regions registered
	ArenaBytes                                        uint64
}

// TakeCensus counts.
func TakeCensus() Census {
	var c C.struct_dp_census
	C.dp_census(&c)
	return Census{
		Engines: uint64(c.engines), Devices: uint64(c.devices), CQs: uint64(c.cqs),
		Conns: uint64(c.conns), Descriptors: uint64(c.descriptors), Tokens: uint64(c.tokens),
		Blocks: uint64(c.blocks), Regions: uint64(c.regions), ArenaBytes: uint64(c.arena_bytes),
	}
}

package sim

import (
	_ "embed"

	"catmint/rdma"
)

// Header is the text of sim.h. Go's build cache does not look at headers of other folders,
// so a package whose C includes rdma/sim/sim.h imports this one.
//
//go:embed sim.h
var Header string

// The C of this package includes rdma/slowops.h.
var _ = rdma.SlowOpsHeader

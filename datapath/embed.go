package datapath

import (
	"embed"

	// Go's build cache does not see C headers of other folders; these imports rebuild this
	// package when a header of theirs changes.
	_ "catmint/datapath/wire"
	_ "catmint/include/demi"
	_ "catmint/qtoken"
	_ "catmint/rdma"
)

// Headers are the C headers of the data plane, embedded so that packages whose C includes
// them are rebuilt when one changes.
//
//go:embed *.h
var Headers embed.FS

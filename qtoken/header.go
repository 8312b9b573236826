package qtoken

import (
	_ "embed"

	_ "catmint/include/demi" // qtoken.h includes demi/types.h
)

// Go's build cache does not see headers of other folders. The header is embedded so that
// an edit changes this package, and with it every package that imports it: whoever
// includes qtoken.h imports this package.
//
//go:embed qtoken.h
var _ string

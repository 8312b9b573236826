package wire

import "embed"

// Headers are this folder's C headers. Go's build cache does not see headers of
// other folders: a package whose C code includes these imports this one, and is
// rebuilt when they change.
//
//go:embed *.h
var Headers embed.FS

// Package demi holds the public C headers of Catmint: the Demikernel API as C and C++
// programs include it (<demi/libos.h>, <demi/sga.h>, <demi/wait.h>, <demi/types.h>).
//
// Only headers that users include live here; no code and nothing private. Go's build
// cache does not see C headers of other folders, so each Go package whose C includes one
// of these imports this package: an edited header then rebuilds its users.
package demi

import "embed"

// Headers are the public headers, by file name.
//
//go:embed cc.h libos.h sga.h types.h wait.h
var Headers embed.FS

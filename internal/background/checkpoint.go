//go:build !demisim

package background

// Checkpoint is a place where tests of the C library let the code panic; otherwise it does
// nothing at all.
func Checkpoint(string) {}

//go:build !amd64

package qemu

// hostTSC says that this machine has no time stamp counter: guests measure what QEMU emulates.
func hostTSC() uint64 { return 0 }

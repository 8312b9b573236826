package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// runFiles is more descriptors than a run has open at once until its first connect, two of them of Go's
// netpoller, which ends the program with a stack trace when it cannot have them.
const runFiles = 16

// checkFiles finds out early, and in plain words, that there are not so many left.
func checkFiles() error {
	for n := range runFiles {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("%d file descriptors are needed, and %d are left: %w", runFiles, n, err)
		}
		defer unix.Close(fd) //nolint:errcheck // of no further use
	}
	return nil
}

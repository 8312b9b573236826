// Command guest-init is process 1 of a Soft-RoCE guest. soft-roce puts it into the initramfs; it is
// of no use anywhere else. It must be linked statically (CGO_ENABLED=0).
package main

import (
	"fmt"
	"os"

	"catmint/soft-roce/internal/guest"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest-init: runs only as the first process of a Soft-RoCE guest; "+
			"soft-roce starts it")
		os.Exit(2)
	}
	guest.Main()
}

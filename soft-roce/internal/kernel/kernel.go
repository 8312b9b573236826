package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Newest asks for the newest amd64 kernel that the distribution offers.
const Newest = "newest"

// Kernel is an unpacked kernel package.
type Kernel struct {
	Root    string // folder with boot/ and lib/modules/ (or usr/lib/modules/)
	Release string // as uname -r tells it in the guest
	Image   string // boot/vmlinuz-RELEASE
	Modules string // lib/modules/RELEASE
}

// ErrNoKernel reports a folder without a kernel in it.
var ErrNoKernel = errors.New("no kernel found")

// Open looks at a folder into which a kernel package was unpacked. It must hold exactly one kernel.
func Open(root string) (*Kernel, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	switch {
	case len(images) == 0:
		return nil, fmt.Errorf("%w in %s: it has no boot/vmlinuz-*", ErrNoKernel, root)
	case len(images) > 1:
		return nil, fmt.Errorf("%w: %s has %d of them", ErrNoKernel, root, len(images))
	}
	release := filepath.Base(images[0])[len("vmlinuz-"):]
	for _, prefix := range []string{"lib/modules", "usr/lib/modules"} {
		modules := filepath.Join(root, prefix, release)
		if info, err := os.Stat(filepath.Join(modules, "kernel")); err == nil && info.IsDir() {
			return &Kernel{Root: root, Release: release, Image: images[0], Modules: modules}, nil
		}
	}
	return nil, fmt.Errorf("%w: %s has no modules for %s", ErrNoKernel, root, release)
}

package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// initName is the name of the built guest-init beside the soft-roce binary.
const initName = "soft-roce-guest-init"

// findInit returns the path of the guest's init: the one named in the configuration or in
// SOFT_ROCE_INIT, the one beside this program, or one built on the spot from this module.
func findInit(ctx context.Context, cfg Config) (string, error) {
	for _, path := range []string{cfg.Init, os.Getenv("SOFT_ROCE_INIT")} {
		if path != "" {
			return path, nil
		}
	}
	if exe, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(exe), initName)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return buildInit(ctx, cfg.CacheDir)
}

// buildInit builds the init. Go's build cache makes this quick when nothing has changed.
func buildInit(ctx context.Context, cache string) (string, error) {
	dir := filepath.Join(cache, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Under a name of our own first: another process may be reading the file.
	tmp := filepath.Join(dir, fmt.Sprintf(".%s-%d", initName, os.Getpid()))
	defer os.Remove(tmp)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", tmp,
		"catmint/soft-roce/guest-init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the guest's init (start me inside the module catmint, or set "+
			"SOFT_ROCE_INIT): %w: %s", err, strings.TrimSpace(string(out)))
	}
	path := filepath.Join(dir, initName)
	return path, os.Rename(tmp, path)
}

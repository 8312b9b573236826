package roce

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"catmint/soft-roce/internal/wire"
)

// nativeModules are loaded, in this order, on a machine that is to be a Soft-RoCE host itself.
// Those that the kernel has built in, or does not need, are passed over by modprobe.
var nativeModules = []string{"ib_uverbs", "rdma_ucm", "rdma_rxe", "veth"}

// NativePossible returns nil if this machine can itself be a Soft-RoCE host, or what is missing.
func NativePossible() error {
	if os.Getuid() != 0 {
		return errors.New("only root can make RDMA devices")
	}
	if exists("/sys/module/rdma_rxe") {
		return initialNetns()
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	release := unix.ByteSliceToString(uts.Release[:])
	for _, pattern := range []string{"/lib/modules", "/usr/lib/modules"} {
		folder := filepath.Join(pattern, release, "kernel/drivers/infiniband/sw/rxe")
		if found, _ := filepath.Glob(filepath.Join(folder, "rdma_rxe.ko*")); len(found) > 0 {
			return initialNetns()
		}
	}
	return fmt.Errorf("the running kernel (%s) has no rdma_rxe", release)
}

// initialNetns refuses network namespaces other than process 1's, since rxe works in the initial one
// only. In a container that has process numbers of its own the comparison says nothing; there
// AddDevice fails.
func initialNetns() error {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	first, err := os.Readlink("/proc/1/ns/net")
	if err != nil {
		return err
	}
	if own != first {
		return errors.New("rxe works in the initial network namespace only")
	}
	return nil
}

// Native makes a Soft-RoCE host of this machine and returns the variables that describe it. Remove
// undoes it; it also removes what a run that was killed has left.
func Native(ctx context.Context, n wire.Net) (map[string]string, error) {
	for _, name := range nativeModules {
		if exists(filepath.Join("/sys/module", name)) {
			continue
		}
		if out, err := exec.CommandContext(ctx, "modprobe", name).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("modprobe %s: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
	}
	if err := Remove(); err != nil {
		return nil, err
	}
	if err := Network(n); err != nil {
		return nil, err
	}
	if err := AddDevice(ctx, n); err != nil {
		return nil, err
	}
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK: %w", err)
	}
	return Environment("a", n)
}

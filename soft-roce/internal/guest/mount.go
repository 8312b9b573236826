package guest

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nineP are the options of 9p mounts. The host's files do not change while a guest runs, so they
// may be cached without asking again; with the default, every page of every program would be a
// round trip.
const nineP = "trans=virtio,version=9p2000.L,msize=512000,cache=loose"

type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

func (m mount) do(root string) error {
	target := filepath.Join(root, m.target)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	if err := unix.Mount(m.source, target, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.kind, target, err)
	}
	return nil
}

// mountKernel mounts the kernel's own file systems under root.
func mountKernel(root string) error {
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	for _, m := range []mount{
		{"devtmpfs", "dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
		{"proc", "proc", "proc", safe, ""},
		{"sysfs", "sys", "sysfs", safe, ""},
	} {
		if err := m.do(root); err != nil {
			return err
		}
	}
	return nil
}

// switchRoot makes the host's files the root: read only, with a tmpfs above that takes whatever the
// guest writes and is lost with it. The folders in writable reach through to the outside.
func switchRoot(writable []string) error {
	const root = "/root"
	for _, m := range []mount{
		{RootTag, "lower", "9p", unix.MS_RDONLY, nineP},
		{"tmpfs", "upper", "tmpfs", 0, "mode=0755,size=75%"},
	} {
		if err := m.do("/"); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/upper/data", "/upper/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	overlay := mount{
		"overlay", root, "overlay", 0,
		"lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work,index=off,xino=off",
	}
	if err := overlay.do("/"); err != nil {
		return err
	}
	if err := mountKernel(root); err != nil {
		return err
	}
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	for _, m := range []mount{
		{"devpts", "dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "ptmxmode=0666,mode=0620"},
		{"tmpfs", "dev/shm", "tmpfs", safe, "mode=1777"},
		{"tmpfs", "run", "tmpfs", safe, "mode=0755"},
	} {
		if err := m.do(root); err != nil {
			return err
		}
	}
	for i, folder := range writable {
		m := mount{WritableTag(i), folder, "9p", 0, nineP}
		if err := m.do(root); err != nil {
			return err
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

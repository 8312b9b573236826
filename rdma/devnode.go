package rdma

import (
	"errors"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// devDir is where the device nodes are; rdma-core's util/open_cdev.h.
const devDir = "/dev/infiniband"

// checkNode answers EACCES or EPERM if the process may not open a device node, nil
// otherwise. rdma-core would wait five seconds for udev to make another one, and then
// say ENOENT (util/open_cdev.c).
func checkNode(name string) error {
	for {
		fd, err := unix.Open(filepath.Join(devDir, name), unix.O_RDWR|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			return unix.Close(fd)
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
			return err
		default:
			return nil // not there: rdma-core looks further
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"catmint/libos"
	"catmint/rdma"
)

// The exit statuses, which are rping's.
const (
	exitOK       = 0
	exitNoDevice = 19  // ENODEV
	exitUsage    = 22  // EINVAL
	exitName     = 254 // a host name that does not resolve
	exitFailure  = 255 // anything else
)

// exitStatus is what the program exits with after err.
func exitStatus(err error) int {
	var (
		usage  *usageError
		name   *nameError
		config *libos.ConfigError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), errors.As(err, &config), errors.Is(err, syscall.EMSGSIZE):
		return exitUsage
	case errors.As(err, &name):
		return exitName
	case errors.Is(err, errNoDevice):
		return exitNoDevice
	}
	return exitFailure
}

// errNoDevice is a machine without an RDMA device that can be opened.
var errNoDevice = errors.New("no RDMA device can be used")

// checkDevices finds out early, and in plain words, that there is no RDMA device.
func checkDevices(fabric rdma.Fabric) error {
	devices, err := fabric.Devices()
	if err == nil && len(devices) > 0 {
		return nil
	}
	if err == nil {
		err = &rdma.OpError{Op: "list devices", Err: syscall.ENODEV}
	}
	if hint := rdma.Hint(err); hint != "" {
		return fmt.Errorf("%w: %s", errNoDevice, hint)
	}
	return fmt.Errorf("%w: %w", errNoDevice, err)
}

// describe is an error as one line that says what to do.
func describe(err error) string {
	var usage *usageError
	if errors.As(err, &usage) {
		return err.Error() + " (see rping-demi --help)"
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if hint := rdma.Hint(err); hint != "" && !strings.Contains(text, hint) {
		text += ": " + hint
	}
	return text
}

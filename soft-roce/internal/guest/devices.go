package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// openPort opens the virtio-serial port that leads to the host.
func openPort() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(name)) != PortName {
			continue
		}
		node := filepath.Base(filepath.Dir(file))
		port, err := os.OpenFile(filepath.Join("/dev", node), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("port to the host: %w", err)
		}
		return port, nil
	}
	return nil, fmt.Errorf("no virtio-serial port named %s among %d", PortName, len(names))
}

// waitNodes waits for the character devices that verbs and the connection manager use.
func waitNodes(ctx context.Context) error {
	for {
		verbs, _ := filepath.Glob("/dev/infiniband/uverbs*")
		_, err := os.Stat("/dev/infiniband/rdma_cm")
		if err == nil && len(verbs) > 0 {
			return openToAll(append(verbs, "/dev/infiniband/rdma_cm"))
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no /dev/infiniband/uverbs* and rdma_cm: %w", ctx.Err())
		}
	}
}

// openToAll gives the devices the mode that rdma-core's udev rules give them.
func openToAll(nodes []string) error {
	for _, node := range nodes {
		if err := os.Chmod(node, 0o666); err != nil {
			return err
		}
	}
	return nil
}

//go:build rdma

package conformance

import (
	"path/filepath"
	"testing"
)

func TestProgramsEndOnADeviceAsTheyWouldWithoutTheLibrary(t *testing.T) {
	dir := filepath.Dir(made(t, "libdemikernel.so.1"))
	made(t, "endings")
	made(t, "loaded")
	programsEnd(t, []string{"LD_LIBRARY_PATH=" + dir}, dir, hostEnv(t, "SOFT_ROCE_ADDR"))
}

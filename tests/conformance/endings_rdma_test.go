//go:build rdma

package conformance

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgramsEndOnADeviceAsTheyWouldWithoutTheLibrary(t *testing.T) {
	dir := filepath.Dir(made(t, "libdemikernel.so.1"))
	made(t, "endings")
	made(t, "loaded")
	programsEnd(t, []string{"LD_LIBRARY_PATH=" + dir}, dir, hostEnv(t, "SOFT_ROCE_ADDR"))
}

// Real limits, reached while connections are made and accepted, with a peer that is a process of
// its own.
func TestAConnectionThatALimitForbidsIsRefusedAndTheOthersGoOn(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	for _, deed := range limits {
		t.Run(deed, func(t *testing.T) {
			out, status := output(t, nil, made(t, "limits"), addr, deed)
			if deed == "files-init" {
				require.Equal(t, "catmint: demi_init: no file descriptor is left: raise the limit with ulimit -n\n", out)
			} else {
				require.Empty(t, out)
			}
			require.True(t, status.Exited(), "signal %v", status.Signal())
			require.Equal(t, 7, status.ExitStatus())
		})
	}
}

// limits are the deeds of programs/limits.c.
var limits = []string{
	"files-init", "files-bind", "files-connect-first", "files-connect", "files-accept-first", "files-accept",
	"memory-connect", "memory-accept",
}

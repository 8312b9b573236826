//go:build rdma

package conformance

import (
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgramsEndOnADeviceAsTheyWouldWithoutTheLibrary(t *testing.T) {
	dir := filepath.Dir(made(t, "libdemikernel.so.1"))
	made(t, "endings")
	made(t, "loaded")
	programsEnd(t, []string{"LD_LIBRARY_PATH=" + dir}, dir, hostEnv(t, "SOFT_ROCE_ADDR"))
}

const tooFew = "catmint: demi_init: too few file descriptors are left: raise the limit with ulimit -n\n"

// Real limits, reached while connections are made and accepted, with a peer that is a process of
// its own.
func TestAConnectionThatALimitForbidsIsRefusedAndTheOthersGoOn(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	for _, deed := range limits {
		t.Run(deed, func(t *testing.T) {
			out, status := output(t, nil, made(t, "limits"), addr, deed)
			if deed == "files-init" {
				require.Equal(t, tooFew, out)
			} else {
				require.Empty(t, out)
			}
			require.True(t, status.Exited(), "signal %v", status.Signal())
			require.Equal(t, 7, status.ExitStatus())
		})
	}
}

// Wherever demi_init runs out of descriptors, it says so, and works once there are some.
func TestInitWithTooFewDescriptorsAnswersAndDoesNotEndTheProgram(t *testing.T) {
	addr := hostEnv(t, "SOFT_ROCE_ADDR")
	for few := 0; ; few++ {
		out, status := output(t, nil, made(t, "limits"), addr, "files-few", strconv.Itoa(few))
		require.True(t, status.Exited(), "%d descriptors: signal %v: %s", few, status.Signal(), out)
		if status.ExitStatus() == 0 {
			return
		}
		require.Equal(t, 7, status.ExitStatus(), "%d descriptors: %s", few, out)
		require.Equal(t, tooFew, out)
	}
}

// limits are the deeds of programs/limits.c.
var limits = []string{
	"files-init", "files-bind", "files-connect-first", "files-connect", "files-accept-first", "files-accept",
	"memory-connect", "memory-accept",
}

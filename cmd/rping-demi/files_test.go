package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestARunWithoutFileDescriptorsSaysHowManyItNeeds(t *testing.T) {
	_, client := newHosts(t)
	out, errOut := newOutput(), newOutput()
	var files unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: files.Max}))
	status := run(context.Background(), []string{"-c", "-a", serverAddr}, nil, client, out, errOut)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &files))
	require.Equal(t, exitFailure, status)
	require.Empty(t, out.String())
	require.Equal(t, "rping-demi: 16 file descriptors are needed, and 0 are left: too many open files: "+
		"raise the limit with ulimit -n\n", errOut.String())
}

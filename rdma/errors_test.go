package rdma

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpErrorNamesOperationDeviceAndReason(t *testing.T) {
	err := errnoError("create queue pair", "rxe0", int(syscall.ENOMEM))
	require.EqualError(t, err, "rdma: create queue pair: rxe0: cannot allocate memory")
	err = errnoError("create event channel", "", int(syscall.ENODEV))
	require.EqualError(t, err, "rdma: create event channel: no such device")
	require.NoError(t, errnoError("anything", "", 0))
}

func TestOpErrorUnwrapsToItsErrno(t *testing.T) {
	err := fmt.Errorf("connect: %w", errnoError(opResolveRoute, "rxe0", int(syscall.ENODEV)))
	require.ErrorIs(t, err, syscall.ENODEV)
	assert.Equal(t, syscall.ENODEV, Errno(err))
	var op *OpError
	require.ErrorAs(t, err, &op)
	assert.Equal(t, "rxe0", op.Device)
	assert.Zero(t, Errno(errors.New("no errno in it")))
	assert.Zero(t, Errno(nil))
}

// fakeMachine has the named files and directories.
func fakeMachine(t *testing.T, files ...string) machine {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		path := filepath.Join(root, f)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	return machine{root: root, memlock: func() (uint64, bool) { return 64 << 10, true }}
}

func TestHintTellsWhatIsMissing(t *testing.T) {
	const (
		device = "sys/class/infiniband/rxe0"
		uverbs = "sys/class/infiniband_verbs/abi_version"
		ucm    = "sys/class/misc/rdma_cm"
		node   = "dev/infiniband/rdma_cm"
		node0  = "dev/infiniband/uverbs0"
	)
	for name, c := range map[string]struct {
		files []string
		op    string
		errno syscall.Errno
		want  string
	}{
		"no device":           {nil, opEventChannel, syscall.ENODEV, hintNoDevice},
		"no device to list":   {nil, opListDevices, syscall.ENOSYS, hintNoDevice},
		"ib_uverbs missing":   {[]string{device}, opEventChannel, syscall.ENODEV, hintNoUverbs},
		"rdma_ucm missing":    {[]string{device, uverbs}, opEventChannel, syscall.ENOENT, hintNoUCM},
		"nodes missing":       {[]string{device, uverbs, ucm}, opEventChannel, syscall.ENOENT, hintNoNodes},
		"one node missing":    {[]string{device, uverbs, ucm, node}, opOpenDevice, syscall.ENOENT, hintNoNodes},
		"no provider library": {[]string{device, uverbs, ucm, node, node0}, opListDevices, syscall.ENODEV, hintNoProvider},
		"none for rdma_cm":    {[]string{device, uverbs, ucm, node, node0}, opEventChannel, syscall.ENODEV, hintNoProvider},
		"nothing is missing":  {[]string{device, uverbs, ucm, node, node0}, opEventChannel, syscall.ENOENT, ""},
		"permission denied":   {[]string{device}, opOpenDevice, syscall.EACCES, hintNoAccess},
		"not permitted":       {[]string{device}, opEventChannel, syscall.EPERM, hintNoAccess},
		"too many files":      {[]string{device}, opEventChannel, syscall.EMFILE, hintFiles},
		"channel's files":     {nil, opCreateChannel, syscall.EMFILE, hintFiles},
		"address not local":   {nil, opBindAddr, syscall.EADDRNOTAVAIL, hintNotLocal},
		"address not RDMA's":  {nil, opBindAddr, syscall.ENODEV, hintNotLocal},
		"no device for route": {nil, opResolveRoute, syscall.ENODEV, hintNoRoute},
		"no device to target": {nil, opResolveAddr, syscall.ENODEV, hintNoRoute},
		"no descriptor":       {nil, opBindAddr, syscall.EMFILE, hintFiles},
		"no descriptor else":  {nil, "disconnect", syscall.ENFILE, hintFiles},
		"address in use":      {nil, opBindAddr, syscall.EADDRINUSE, ""},
		"other access error":  {nil, opEventChannel, syscall.EINVAL, ""},
		"other resource":      {nil, opCreateCQ, syscall.EINVAL, ""},
		"other operation":     {nil, "disconnect", syscall.EINVAL, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := fakeMachine(t, c.files...)
			assert.Equal(t, c.want, m.hint(errnoError(c.op, "", int(c.errno))))
		})
	}
}

func TestHintAboutMemoryGivesTheLimit(t *testing.T) {
	m := fakeMachine(t)
	for _, op := range []string{opRegMR, opCreateCQ, opCreateQP, opAllocPD} {
		hint := m.hint(fmt.Errorf("connect: %w", errnoError(op, "rxe0", int(syscall.ENOMEM))))
		assert.Contains(t, hint, "64 KiB (RLIMIT_MEMLOCK)", op)
	}
	m.memlock = func() (uint64, bool) { return 0, false }
	assert.Empty(t, m.hint(errnoError(opRegMR, "", int(syscall.ENOMEM))), "unlimited")
}

func TestHintHasNothingToSayAboutOtherErrors(t *testing.T) {
	assert.Empty(t, Hint(nil))
	assert.Empty(t, Hint(errors.New("unknown")))
	assert.Empty(t, Hint(syscall.ENODEV))
	assert.Empty(t, Hint(&OpError{Op: opBindAddr, Err: errors.New("no errno")}))
}

package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
)

// device makes a file that can be opened as /dev/kvm can.
func device(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kvm")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	return path
}

func TestAutoTriesKVMOnceAndRemembers(t *testing.T) {
	m := AccelMemory{Dir: filepath.Join(t.TempDir(), "accel"), Machine: "one", Device: device(t)}
	accel, certain, err := m.Choose(Auto)
	require.NoError(t, err)
	assert.Equal(t, KVM, accel)
	assert.False(t, certain)

	require.NoError(t, m.Learn(false, "failed to set MSR"))
	accel, certain, err = m.Choose(Auto)
	require.NoError(t, err)
	assert.Equal(t, TCG, accel)
	assert.True(t, certain)

	other := m
	other.Machine = "another kernel"
	accel, certain, err = other.Choose(Auto)
	require.NoError(t, err)
	assert.Equal(t, KVM, accel, "the finding holds for one machine only")
	assert.False(t, certain)

	require.NoError(t, other.Learn(true, ""))
	accel, certain, err = other.Choose(Auto)
	require.NoError(t, err)
	assert.Equal(t, KVM, accel)
	assert.True(t, certain)
}

func TestWithoutADeviceAutoIsTCG(t *testing.T) {
	m := AccelMemory{Dir: t.TempDir(), Device: "/nonexistent/kvm"}
	accel, certain, err := m.Choose(Auto)
	require.NoError(t, err)
	assert.Equal(t, TCG, accel)
	assert.True(t, certain)
	_, _, err = m.Choose(KVM)
	require.ErrorIs(t, err, os.ErrNotExist, "who insists on KVM is told why not")
}

func TestWhatTheUserSaysHolds(t *testing.T) {
	m := AccelMemory{Dir: t.TempDir(), Machine: "one", Device: device(t)}
	require.NoError(t, m.Learn(false, "x"))
	accel, certain, err := m.Choose(KVM)
	require.NoError(t, err)
	assert.Equal(t, KVM, accel)
	assert.True(t, certain)
	accel, _, err = m.Choose(TCG)
	require.NoError(t, err)
	assert.Equal(t, TCG, accel)
	_, _, err = m.Choose("xen")
	require.ErrorContains(t, err, "xen")
}

func TestADamagedMemoryIsNone(t *testing.T) {
	m := AccelMemory{Dir: t.TempDir(), Machine: "one", Device: device(t)}
	require.NoError(t, os.WriteFile(m.path(), []byte("{"), 0o600))
	accel, certain, err := m.Choose(Auto)
	require.NoError(t, err)
	assert.Equal(t, KVM, accel)
	assert.False(t, certain)
}

func TestAMemoryThatCannotBeWrittenIsAnError(t *testing.T) {
	file := device(t)
	require.Error(t, AccelMemory{Dir: file, Machine: "one"}.Learn(true, ""))
}

func TestTheMachineIsKnownByProcessorKernelAndQEMU(t *testing.T) {
	fake.Bed(t, fake.Works)
	text := ThisMachine(os.Getenv("SOFT_ROCE_QEMU"))
	assert.Contains(t, text, "Linux ")
	assert.Contains(t, text, "QEMU emulator version 0.0 (fake)")
	assert.NotContains(t, ThisMachine("/nonexistent"), "QEMU")
}

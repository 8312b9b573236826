package kernel_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
	"catmint/soft-roce/internal/kernel"
)

func TestAnUnpackedPackageIsAKernel(t *testing.T) {
	root := fake.Kernel(t, nil)
	k, err := kernel.Open(root)
	require.NoError(t, err)
	assert.Equal(t, fake.Release, k.Release)
	assert.Equal(t, filepath.Join(root, "boot/vmlinuz-"+fake.Release), k.Image)
	assert.Equal(t, filepath.Join(root, "lib/modules", fake.Release), k.Modules)
}

func TestModulesMayLieBelowUsr(t *testing.T) {
	root := fake.Kernel(t, nil)
	require.NoError(t, os.Mkdir(filepath.Join(root, "usr"), 0o755))
	require.NoError(t, os.Rename(filepath.Join(root, "lib"), filepath.Join(root, "usr/lib")))
	k, err := kernel.Open(root)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(root, "usr/lib/modules", fake.Release), k.Modules)
}

func TestOtherFoldersAreNoKernel(t *testing.T) {
	_, err := kernel.Open(t.TempDir())
	require.ErrorIs(t, err, kernel.ErrNoKernel)

	two := fake.Kernel(t, nil)
	fake.Write(t, filepath.Join(two, "boot/vmlinuz-6.1.0-other"), "image")
	_, err = kernel.Open(two)
	require.ErrorIs(t, err, kernel.ErrNoKernel)
	require.ErrorContains(t, err, "has 2 of them")

	bare := t.TempDir()
	fake.Write(t, filepath.Join(bare, "boot/vmlinuz-6.1.0-bare"), "image")
	_, err = kernel.Open(bare)
	require.ErrorIs(t, err, kernel.ErrNoKernel)
	require.ErrorContains(t, err, "no modules for 6.1.0-bare")
}

func names(list []kernel.Module) []string {
	var out []string
	for _, m := range list {
		out = append(out, m.Name)
	}
	return out
}

func moduleSet(t *testing.T, modules map[string][]string, builtin ...string) *kernel.ModuleSet {
	t.Helper()
	k, err := kernel.Open(fake.Kernel(t, modules, builtin...))
	require.NoError(t, err)
	set, err := k.ModuleSet()
	require.NoError(t, err)
	return set
}

func TestModulesComeAfterWhatTheyDependOn(t *testing.T) {
	set := moduleSet(t, map[string][]string{
		"net/9p/9pnet.ko":        nil,
		"net/9p/9pnet-virtio.ko": {"9pnet", "virtio"},
		"fs/9p/9p.ko":            {"9pnet", "netfs"},
		"fs/netfs/netfs.ko":      nil,
		"rdma/rdma_ucm.ko":       {"rdma_cm", "ib-core"},
		"rdma/rdma_cm.ko":        {"ib-core"},
		"rdma/ib-core.ko":        nil,
	}, "virtio")
	list, err := set.Closure([]string{"9pnet-virtio", "9p", "rdma_ucm"})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"9pnet", "9pnet_virtio", "netfs", "9p", "ib_core", "rdma_cm", "rdma_ucm",
	}, names(list), "dependencies first, each once, built-in ones left out, names as the kernel's")

	more, err := set.Closure([]string{"9p", "rdma_cm"}, list[:4]...)
	require.NoError(t, err)
	assert.Equal(t, []string{"ib_core", "rdma_cm"}, names(more), "what is known is left out")
}

func TestMissingAndCircularModulesAreErrors(t *testing.T) {
	set := moduleSet(t, map[string][]string{
		"a.ko": {"b"}, "b.ko": {"a"}, "c.ko": {"absent"},
	}, "inside")
	_, err := set.Closure([]string{"absent"})
	require.ErrorIs(t, err, kernel.ErrNoModule)
	_, err = set.Closure([]string{"c"})
	require.ErrorIs(t, err, kernel.ErrNoModule)
	require.ErrorContains(t, err, "module c")
	_, err = set.Closure([]string{"a"})
	require.ErrorContains(t, err, "depends on itself")
	assert.True(t, set.Has("inside"))
	assert.True(t, set.Has("a"))
	assert.False(t, set.Has("absent"))
}

func TestCompressedModulesAreDecompressed(t *testing.T) {
	root := fake.Kernel(t, nil)
	plain := fake.Module(t, []string{})
	fake.WriteXZ(t, filepath.Join(root, "lib/modules", fake.Release, "kernel/m.ko.xz"), plain)
	k, err := kernel.Open(root)
	require.NoError(t, err)
	set, err := k.ModuleSet()
	require.NoError(t, err)
	list, err := set.Closure([]string{"m"})
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, plain, list[0].Image)
}

func TestDamagedModulesAreErrors(t *testing.T) {
	root := fake.Kernel(t, nil)
	folder := filepath.Join(root, "lib/modules", fake.Release, "kernel")
	fake.Write(t, filepath.Join(folder, "text.ko"), "no ELF file")
	fake.Write(t, filepath.Join(folder, "packed.ko.xz"), "no xz file")
	fake.Write(t, filepath.Join(folder, "bare.ko"), string(fake.ELF(t, "", nil)))
	k, err := kernel.Open(root)
	require.NoError(t, err)
	set, err := k.ModuleSet()
	require.NoError(t, err)
	for _, name := range []string{"text", "packed", "bare"} {
		_, err := set.Closure([]string{name})
		require.ErrorContains(t, err, name)
	}
}

func TestAKernelWithoutItsListOfBuiltinsIsDamaged(t *testing.T) {
	root := fake.Kernel(t, nil)
	require.NoError(t, os.Remove(filepath.Join(root, "lib/modules", fake.Release, "modules.builtin")))
	k, err := kernel.Open(root)
	require.NoError(t, err)
	_, err = k.ModuleSet()
	require.Error(t, err)
}

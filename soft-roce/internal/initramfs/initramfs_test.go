package initramfs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
	"catmint/soft-roce/internal/guest"
	"catmint/soft-roce/internal/initramfs"
	"catmint/soft-roce/internal/kernel"
)

// modular is a kernel that has its modules as files, with the dependencies of Debian's.
var modular = map[string][]string{
	"9p/9pnet.ko": nil, "9p/9pnet_virtio.ko": {"9pnet"}, "9p/9p.ko": {"9pnet", "netfs"},
	"fs/netfs.ko": nil, "fs/overlay.ko": nil,
	"rdma/ib_core.ko": nil, "rdma/ib_uverbs.ko": {"ib_core"}, "rdma/rdma_cm.ko": {"ib_core"},
	"rdma/rdma_ucm.ko": {"rdma_cm", "ib_uverbs"}, "rdma/rdma_rxe.ko": {"ib_uverbs", "udp_tunnel"},
	"net/udp_tunnel.ko": nil, "net/veth.ko": nil, "net/virtio_net.ko": {"failover"},
	"net/failover.ko": nil, "net/sch_netem.ko": nil, "crypto/crc32_generic.ko": nil,
	"net/dummy.ko": nil,
}

func spec(t *testing.T, modules map[string][]string, extra ...string) initramfs.Spec {
	t.Helper()
	k, err := kernel.Open(fake.Kernel(t, modules, "virtio_pci", "virtio_console"))
	require.NoError(t, err)
	init := filepath.Join(t.TempDir(), "init")
	require.NoError(t, os.WriteFile(init, fake.ELF(t, "", nil), 0o755))
	return initramfs.Spec{Kernel: k, Init: init, Extra: extra}
}

func read(t *testing.T, archive io.Reader) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for r := cpio.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		files["/"+h.Name] = data
		if "/"+h.Name == guest.InitPath {
			assert.Equal(t, cpio.FileMode(0o755), h.Mode&cpio.ModePerm, "init can be executed")
		}
	}
}

func TestTheArchiveHoldsInitModulesAndTheirOrder(t *testing.T) {
	s := spec(t, modular, "dummy")
	var b bytes.Buffer
	require.NoError(t, initramfs.Build(&b, s))
	files := read(t, &b)
	init, err := os.ReadFile(s.Init)
	require.NoError(t, err)
	assert.Equal(t, init, files[guest.InitPath])
	for _, dir := range []string{"/dev", "/proc", "/sys", "/lower", "/upper", "/root"} {
		assert.Contains(t, files, dir)
	}
	var m guest.Manifest
	require.NoError(t, json.Unmarshal(files[guest.ManifestPath], &m))
	assert.Equal(t, []string{"9pnet.ko", "9pnet_virtio.ko", "netfs.ko", "9p.ko", "overlay.ko"}, m.Early)
	assert.Equal(t, []string{
		"ib_core.ko", "ib_uverbs.ko", "rdma_cm.ko", "rdma_ucm.ko", "crc32_generic.ko", "udp_tunnel.ko",
		"rdma_rxe.ko", "veth.ko", "failover.ko", "virtio_net.ko", "sch_netem.ko", "dummy.ko",
	}, m.Late, "ib_uverbs before rdma_ucm, extra ones last")
	for _, name := range append(m.Early, m.Late...) {
		assert.NotEmpty(t, files[guest.ModuleFolder+"/"+name], name)
	}
}

func TestOnlyTheModuleThatNewKernelsDoWithoutMayBeMissing(t *testing.T) {
	without := func(path string) map[string][]string {
		out := make(map[string][]string)
		for p, d := range modular {
			if p != path {
				out[p] = d
			}
		}
		return out
	}
	require.NoError(t, initramfs.Build(io.Discard, spec(t, without("crypto/crc32_generic.ko"))))
	require.ErrorIs(t, initramfs.Build(io.Discard, spec(t, without("rdma/rdma_rxe.ko"))), kernel.ErrNoModule)
	require.ErrorIs(t, initramfs.Build(io.Discard, spec(t, modular, "absent")), kernel.ErrNoModule)
}

func TestADynamicInitIsRefused(t *testing.T) {
	s := spec(t, modular)
	require.NoError(t, os.WriteFile(s.Init, fake.ELF(t, "/lib64/ld-linux-x86-64.so.2\x00", nil), 0o755))
	require.ErrorIs(t, initramfs.Build(io.Discard, s), initramfs.ErrDynamic)
	require.NoError(t, os.WriteFile(s.Init, []byte("text"), 0o755))
	require.Error(t, initramfs.Build(io.Discard, s))
	s.Init = "/nonexistent"
	require.ErrorIs(t, initramfs.Build(io.Discard, s), os.ErrNotExist)
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestAFullDiskIsTold(t *testing.T) {
	require.ErrorContains(t, initramfs.Build(fullDisk{}, spec(t, modular)), "disk full")
}

func TestArchivesAreKeptByWhatIsInThem(t *testing.T) {
	s := spec(t, modular)
	dir := t.TempDir()
	first, err := initramfs.Cached(dir, s)
	require.NoError(t, err)
	info, err := os.Stat(first)
	require.NoError(t, err)
	again, err := initramfs.Cached(dir, s)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	same, err := os.Stat(again)
	require.NoError(t, err)
	assert.Equal(t, info.ModTime(), same.ModTime(), "it is not built again")

	extra := s
	extra.Extra = []string{"dummy"}
	other, err := initramfs.Cached(dir, extra)
	require.NoError(t, err)
	assert.NotEqual(t, first, other)

	require.NoError(t, os.WriteFile(s.Init, fake.ELF(t, "", map[string]string{".new": "x"}), 0o755))
	other, err = initramfs.Cached(dir, s)
	require.NoError(t, err)
	assert.NotEqual(t, first, other)
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAFailedBuildLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := initramfs.Cached(dir, spec(t, modular, "absent"))
	require.ErrorIs(t, err, kernel.ErrNoModule)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

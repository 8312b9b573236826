package initramfs

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"

	"catmint/soft-roce/internal/guest"
	"catmint/soft-roce/internal/kernel"
)

// Modules that every guest loads. Those in the first list are needed to reach the host's files and
// the host itself; the others are loaded while the files are being mounted. ib_uverbs comes before
// rdma_ucm, otherwise the removal of a device never reaches applications.
var (
	early = []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"}
	late  = []string{
		"ib_uverbs", "rdma_ucm", "crc32_generic", "rdma_rxe", "veth", "virtio_net", "sch_netem",
	}
	// rxe asks the crypto layer for "crc32"; newer kernels compute it without this module.
	optional = []string{"crc32_generic"}
)

// Spec says what goes into an archive.
type Spec struct {
	Kernel *kernel.Kernel
	Init   string   // path of the static guest-init binary
	Extra  []string // further modules, loaded last
}

// ErrDynamic reports an init that needs a dynamic loader, which the archive does not have.
var ErrDynamic = errors.New("init is not statically linked (build it with CGO_ENABLED=0)")

// Cached returns the path of the archive for spec, which it builds unless folder has it.
func Cached(folder string, spec Spec) (string, error) {
	key, err := spec.key()
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "initramfs-"+key+".cpio")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(folder, ".initramfs-")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := Build(tmp, spec); err != nil {
		return "", err
	}
	if err := tmp.Close(); err != nil {
		return "", err
	}
	return path, os.Rename(tmp.Name(), path)
}

// key identifies an archive by what it is made of. A kernel's modules are told by its release and
// by where it was unpacked: packages are never changed in place.
func (s Spec) key() (string, error) {
	h := sha256.New()
	bin, err := os.Open(s.Init)
	if err != nil {
		return "", err
	}
	defer bin.Close()
	if _, err := io.Copy(h, bin); err != nil {
		return "", err
	}
	for _, part := range slices.Concat([]string{s.Kernel.Root, s.Kernel.Release}, early,
		[]string{""}, late, []string{""}, s.Extra) {
		fmt.Fprintf(h, "%s\x00", part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// Build writes the archive for spec to w, uncompressed: decompressing costs the guest more than
// reading.
func Build(w io.Writer, spec Spec) error {
	init, err := os.ReadFile(spec.Init)
	if err != nil {
		return err
	}
	if err := checkStatic(init); err != nil {
		return fmt.Errorf("%s: %w", spec.Init, err)
	}
	set, err := spec.Kernel.ModuleSet()
	if err != nil {
		return err
	}
	missing := func(name string) bool { return slices.Contains(optional, name) && !set.Has(name) }
	first, err := set.Closure(early)
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(slices.Concat(late, spec.Extra), missing)
	second, err := set.Closure(names, first...)
	if err != nil {
		return err
	}

	a := archive{w: cpio.NewWriter(w)}
	for _, dir := range []string{"dev", "proc", "sys", "lower", "upper", "root", "modules"} {
		a.add(dir, cpio.TypeDir|0o755, nil)
	}
	// /dev/console, which the kernel opens for init, is in the archive that every kernel has built in.
	a.add(guest.InitPath, cpio.TypeReg|0o755, init)
	var manifest guest.Manifest
	manifest.Early = a.modules(first)
	manifest.Late = a.modules(second)
	list, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	a.add(guest.ManifestPath, cpio.TypeReg|0o644, list)
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	return a.w.Close()
}

func checkStatic(image []byte) error {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	for _, prog := range file.Progs {
		if prog.Type == elf.PT_INTERP {
			return ErrDynamic
		}
	}
	return nil
}

// archive writes entries until one fails.
type archive struct {
	w   *cpio.Writer
	ino int64
	err error
}

func (a *archive) write(h *cpio.Header, data []byte) {
	if a.err != nil {
		return
	}
	a.ino++
	h.Inode, h.Links, h.Size = a.ino, 1, int64(len(data))
	if a.err = a.w.WriteHeader(h); a.err == nil {
		_, a.err = a.w.Write(data)
	}
}

func (a *archive) add(path string, mode cpio.FileMode, data []byte) {
	a.write(&cpio.Header{Name: strings.TrimPrefix(path, "/"), Mode: mode}, data)
}

func (a *archive) modules(list []kernel.Module) []string {
	names := make([]string, 0, len(list))
	for _, m := range list {
		name := m.Name + ".ko"
		a.add(guest.ModuleFolder+"/"+name, cpio.TypeReg|0o644, m.Image)
		names = append(names, name)
	}
	return names
}

package fake

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// Release is the release of kernels that Kernel makes.
const Release = "6.12.0-fake"

// Kernel makes a folder that looks like an unpacked kernel package. modules maps paths below
// lib/modules/RELEASE/kernel to the modules that each depends on; builtin lists further modules.
func Kernel(t *testing.T, modules map[string][]string, builtin ...string) string {
	t.Helper()
	root := t.TempDir()
	Write(t, filepath.Join(root, "boot/vmlinuz-"+Release), "image")
	folder := filepath.Join(root, "lib/modules", Release)
	var list strings.Builder
	for _, name := range builtin {
		list.WriteString("kernel/builtin/" + name + ".ko\n")
	}
	Write(t, filepath.Join(folder, "modules.builtin"), list.String())
	Write(t, filepath.Join(folder, "kernel/.keep"), "")
	for path, depends := range modules {
		Write(t, filepath.Join(folder, "kernel", path), string(Module(t, depends)))
	}
	return root
}

// Module makes an ELF file with a .modinfo section, as a kernel module has it.
func Module(t *testing.T, depends []string) []byte {
	t.Helper()
	return ELF(t, "", map[string]string{
		".modinfo": "license=GPL\x00depends=" + strings.Join(depends, ",") + "\x00name=fake\x00",
	})
}

// ELF makes an ELF file with the given sections and, if interpreter is not empty, with a request
// for that dynamic loader.
func ELF(t *testing.T, interpreter string, sections map[string]string) []byte {
	t.Helper()
	const headerSize, progSize, sectionSize = 64, 56, 64
	var body bytes.Buffer // what follows the headers
	progs := 0
	if interpreter != "" {
		progs = 1
	}
	base := uint64(headerSize + progs*progSize)
	body.WriteString(interpreter)
	names := "\x00"
	headers := []elf.Section64{{}}
	add := func(name string, kind elf.SectionType, data string) {
		headers = append(headers, elf.Section64{
			Name: uint32(len(names)), Type: uint32(kind),
			Off: base + uint64(body.Len()), Size: uint64(len(data)), Addralign: 1,
		})
		names += name + "\x00"
		body.WriteString(data)
	}
	for name, data := range sections {
		add(name, elf.SHT_PROGBITS, data)
	}
	names += ".shstrtab\x00"
	table := names
	headers = append(headers, elf.Section64{
		Name: uint32(len(table) - len(".shstrtab\x00")), Type: uint32(elf.SHT_STRTAB),
		Off: base + uint64(body.Len()), Size: uint64(len(table)), Addralign: 1,
	})
	body.WriteString(table)

	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: base + uint64(body.Len()), Ehsize: headerSize,
		Shentsize: sectionSize, Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = 1
	parts := []any{&header}
	if progs > 0 {
		header.Phoff, header.Phentsize, header.Phnum = headerSize, progSize, uint16(progs)
		parts = append(parts, elf.Prog64{
			Type: uint32(elf.PT_INTERP), Off: base, Filesz: uint64(len(interpreter)),
		})
	}
	parts = append(parts, body.Bytes(), headers)
	var file bytes.Buffer
	for _, part := range parts {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

// Write writes a file and the folders that lead to it.
func Write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Builtin lists every module that a guest loads, for kernels that have them all built in.
var Builtin = []string{
	"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "ib_uverbs", "rdma_ucm",
	"crc32_generic", "rdma_rxe", "veth", "virtio_net", "sch_netem",
}

// Bed makes what a bed on the fake QEMU needs, and points the environment to it: a kernel, whose
// folder it returns, an init and a cache folder. behaviour says how the fake behaves.
func Bed(t *testing.T, behaviour string) (kernel string) {
	t.Helper()
	dir := t.TempDir()
	init := filepath.Join(dir, "init")
	if err := os.WriteFile(init, ELF(t, "", nil), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(Variable, behaviour)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the fake need not wait for reports that come late
	t.Setenv(CountFile, filepath.Join(dir, "count"))
	t.Setenv("SOFT_ROCE_QEMU", self)
	t.Setenv("SOFT_ROCE_INIT", init)
	t.Setenv("SOFT_ROCE_CACHE", filepath.Join(dir, "cache"))
	return Kernel(t, nil, Builtin...)
}

// Machines returns how many machines the fake QEMU has been so far.
func Machines(t *testing.T) int {
	t.Helper()
	info, err := os.Stat(os.Getenv(CountFile))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// WriteXZ writes a file, compressed.
func WriteXZ(t *testing.T, path string, content []byte) {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	Write(t, path, b.String())
}

// Programs puts shell scripts in front of PATH, by name.
func Programs(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

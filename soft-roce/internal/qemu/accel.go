package qemu

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// AccelMemory remembers in a cache folder whether KVM boots guests on this machine, so that a
// machine whose /dev/kvm does not deliver pays for finding out only once.
type AccelMemory struct {
	Dir     string
	Machine string // what the finding holds for, see ThisMachine
	Device  string // "" is /dev/kvm
}

// finding is what the memory's file holds.
type finding struct {
	Machine string // readable form of the key
	KVM     bool
	Reason  string `json:",omitempty"`
}

// Choose returns how the next guest is to be run, and whether that is certain. An uncertain KVM is
// to be reported with Learn once the guest has booted, or has not.
func (m AccelMemory) Choose(want Accel) (accel Accel, certain bool, err error) {
	switch want {
	case TCG:
		return TCG, true, nil
	case KVM:
		if err := m.usable(); err != nil {
			return "", false, fmt.Errorf("KVM: %w", err)
		}
		return KVM, true, nil
	case Auto:
	default:
		return "", false, fmt.Errorf("accelerator %q: want %s, %s or %s", want, Auto, TCG, KVM)
	}
	if m.usable() != nil {
		return TCG, true, nil //nolint:nilerr // a KVM that cannot be used is what Auto is there for
	}
	switch f := m.recall(); {
	case f == nil:
		return KVM, false, nil
	case f.KVM:
		return KVM, true, nil
	default:
		return TCG, true, nil
	}
}

// recall returns what was found before, nil if nothing was or the memory is damaged.
func (m AccelMemory) recall() *finding {
	var f finding
	data, err := os.ReadFile(m.path())
	if err != nil || json.Unmarshal(data, &f) != nil {
		return nil
	}
	return &f
}

// Learn stores whether KVM booted a guest; reason says why not.
func (m AccelMemory) Learn(works bool, reason string) error {
	data, err := json.MarshalIndent(finding{Machine: m.Machine, KVM: works, Reason: reason}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.path(), append(data, '\n'), 0o644)
}

func (m AccelMemory) path() string {
	sum := sha256.Sum256([]byte(m.Machine))
	return filepath.Join(m.Dir, "kvm-"+hex.EncodeToString(sum[:6])+".json")
}

func (m AccelMemory) usable() error {
	device := m.Device
	if device == "" {
		device = "/dev/kvm"
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

var modelName = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)

// ThisMachine describes what decides whether KVM works: processor, running kernel, QEMU. Another
// answer to any of the three makes a new trial.
func ThisMachine(binary string) string {
	parts := []string{"unknown processor"}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := modelName.FindSubmatch(info); m != nil {
			parts[0] = string(m[1])
		}
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		parts = append(parts, "Linux "+unix.ByteSliceToString(uts.Release[:]))
	}
	if binary == "" {
		binary = "qemu-system-x86_64"
	}
	if out, err := exec.Command(binary, "--version").Output(); err == nil {
		line, _, _ := strings.Cut(string(out), "\n")
		parts = append(parts, line)
	}
	return strings.Join(parts, "; ")
}

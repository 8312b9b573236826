package testbed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"catmint/soft-roce/internal/kernel"
	"catmint/soft-roce/internal/qemu"
	"catmint/soft-roce/internal/roce"
)

// Defaults of Config.
const (
	DefaultMemoryMiB   = 2048
	DefaultCPUs        = 2
	DefaultBootTimeout = 4 * time.Minute
)

// How long a guest may take to say hello before it counts as dead. Where KVM works this takes a
// second; under TCG two, on a busy machine ten times that.
const (
	helloKVM = 20 * time.Second
	helloTCG = time.Minute
)

// bootAttempts is how often a guest that dies while it boots is started under TCG. QEMU before 8.1
// may translate a guest's code while another of its processors changes it, and keep the old
// translation; Linux, which patches itself mostly while it boots, then dies of "Oops: int3".
const bootAttempts = 3

// Config describes a test bed. The zero value is one host with the newest kernel.
type Config struct {
	Hosts     int    // 1 (or 0) or 2
	Kernel    string // "" or "newest"; "6.1"; folder of an unpacked kernel package; .deb file
	Accel     string // "" or "auto"; "tcg"; "kvm"
	MemoryMiB int    // of each host
	CPUs      int    // of each host
	IdlePoll  bool   // the hosts' processors spin when they have no work, see README.md
	ICount    bool   // the host's clock counts instructions, see README.md; one host, TCG
	MTU       int    // of the network device, bytes

	Modules  []string // further kernel modules to load
	Writable []string // folders that commands may change outside; writes elsewhere stay inside

	BootTimeout time.Duration // until the hosts can be used

	CacheDir string    // "" is the default, see CacheDir
	Init     string    // guest-init binary; "" finds or builds it, see README.md
	QEMU     string    // QEMU binary; "" is $SOFT_ROCE_QEMU, or qemu-system-x86_64
	Console  io.Writer // gets a copy of the hosts' consoles; may be nil
	Log      io.Writer // told what takes long, in lines; may be nil
}

// CacheDir returns the folder for kernels, archives and findings: $SOFT_ROCE_CACHE, or catmint in
// the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("SOFT_ROCE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder (set SOFT_ROCE_CACHE): %w", err)
	}
	return filepath.Join(dir, "catmint"), nil
}

// normalize fills in defaults and checks the rest.
func (c *Config) normalize() error {
	if c.Hosts == 0 {
		c.Hosts = 1
	}
	if c.Hosts < 0 || c.Hosts > 2 {
		return fmt.Errorf("%d hosts: there can be 1 or 2", c.Hosts)
	}
	if c.Kernel == "" {
		c.Kernel = kernel.Newest
	}
	if c.Accel == "" {
		c.Accel = string(qemu.Auto)
	}
	if c.ICount {
		switch {
		case c.Hosts != 1:
			return errors.New("clocks that count instructions do not agree: want one host")
		case c.Accel == string(qemu.KVM):
			return errors.New("KVM counts no instructions: want TCG")
		case c.IdlePoll:
			return errors.New("to spin costs time where instructions are counted")
		}
		c.Accel = string(qemu.TCG)
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = DefaultMemoryMiB
	}
	if c.MemoryMiB < 256 {
		return fmt.Errorf("%d MiB of memory: a host needs 256 or more", c.MemoryMiB)
	}
	if c.CPUs == 0 {
		c.CPUs = DefaultCPUs
	}
	if c.CPUs < 1 || c.CPUs > 64 {
		return fmt.Errorf("%d CPUs: want 1 to 64", c.CPUs)
	}
	if c.BootTimeout == 0 {
		c.BootTimeout = DefaultBootTimeout
	}
	if _, err := roce.PlanFor("a", false, c.MTU); err != nil {
		return err
	}
	if len(c.Writable) > 10 {
		return fmt.Errorf("%d writable folders: there can be 10", len(c.Writable))
	}
	for i, dir := range c.Writable {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if info, err := os.Stat(abs); err != nil {
			return fmt.Errorf("writable folder: %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf("writable folder: %s is not a folder", abs)
		}
		c.Writable[i] = abs
	}
	if c.QEMU == "" {
		c.QEMU = os.Getenv("SOFT_ROCE_QEMU")
	}
	if c.CacheDir == "" {
		dir, err := CacheDir()
		if err != nil {
			return err
		}
		c.CacheDir = dir
	}
	return nil
}

func (c *Config) say(format string, args ...any) {
	if c.Log != nil {
		fmt.Fprintf(c.Log, "soft-roce: "+format+"\n", args...)
	}
}

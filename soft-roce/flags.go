package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"catmint/soft-roce/testbed"
)

// Values of --mode.
const (
	modeAuto   = "auto"
	modeNative = "native"
	modeQEMU   = "qemu"
)

// guestFlags mean nothing on this machine itself.
var guestFlags = []string{"kernel", "accel", "mem", "cpus", "idle-poll", "icount", "module", "writable"}

// bedFlags are the flags that all subcommands with a host share.
type bedFlags struct {
	bed     testbed.Config
	mode    string
	timeout time.Duration
	env     []string
	verbose bool
}

func (f *bedFlags) register(fs *pflag.FlagSet, timeout time.Duration) {
	fs.IntVar(&f.bed.Hosts, "hosts", 1, "number of hosts, 1 or 2")
	fs.StringVar(&f.mode, "mode", modeAuto, "native (this machine), qemu, or auto: native if possible")
	fs.StringVar(&f.bed.Kernel, "kernel", "newest",
		"guests' kernel: newest, a version such as 6.1, an unpacked Debian package, or a .deb file")
	fs.StringVar(&f.bed.Accel, "accel", "auto", "kvm, tcg, or auto: KVM if it works")
	fs.DurationVar(&f.timeout, "timeout", timeout, "time limit for everything, 0 for none")
	fs.IntVar(&f.bed.MemoryMiB, "mem", testbed.DefaultMemoryMiB, "memory of each guest in MiB")
	fs.IntVar(&f.bed.CPUs, "cpus", testbed.DefaultCPUs, "processors of each guest")
	fs.BoolVar(&f.bed.IdlePoll, "idle-poll", false,
		"guests' processors spin when idle: waking one is cheap, and this machine is busy")
	fs.BoolVar(&f.bed.ICount, "icount", false,
		"guest's clock counts instructions, however busy this machine is")
	fs.IntVar(&f.bed.MTU, "mtu", 0, "MTU of the network device in bytes (default: room for RoCE's 4096)")
	fs.StringArrayVar(&f.bed.Modules, "module", nil, "also load this kernel module in the guests")
	fs.StringArrayVar(&f.bed.Writable, "writable", nil,
		"folder that the guests may change; what they write elsewhere is lost")
	fs.StringArrayVar(&f.env, "env", nil, "KEY=VALUE to add to the command's environment")
	fs.BoolVar(&f.verbose, "verbose", false, "show the guests' consoles, and what the start took")
}

// parse parses args; usage errors are told from the others by their type.
func parse(fs *pflag.FlagSet, args []string, std streams, synopsis string) error {
	fs.SetOutput(io.Discard)
	fs.SortFlags = false
	fs.Usage = func() {
		fmt.Fprintf(std.out, "Usage:\n  %s\n\nFlags:\n%s", synopsis, fs.FlagUsagesWrapped(100))
	}
	err := fs.Parse(args)
	if err != nil && err != pflag.ErrHelp { //nolint:errorlint // pflag returns it as it is
		return usageError{err}
	}
	return err
}

// check looks at what pflag cannot.
func (f *bedFlags) check(fs *pflag.FlagSet) error {
	switch f.mode {
	case modeAuto, modeQEMU:
	case modeNative:
		for _, name := range guestFlags {
			if fs.Changed(name) {
				return usageError{fmt.Errorf("--%s is for guests, not for --mode native", name)}
			}
		}
		if f.bed.Hosts != 1 {
			return usageError{fmt.Errorf("--mode native makes one host only")}
		}
	default:
		return usageError{fmt.Errorf("--mode %q: want auto, native or qemu", f.mode)}
	}
	if f.bed.Hosts != 1 && f.bed.Hosts != 2 {
		return usageError{fmt.Errorf("--hosts %d: want 1 or 2", f.bed.Hosts)}
	}
	if f.timeout < 0 {
		return usageError{fmt.Errorf("--timeout %v is negative", f.timeout)}
	}
	for _, kv := range f.env {
		if !validEnv(kv) {
			return usageError{fmt.Errorf("--env %q: want KEY=VALUE", kv)}
		}
	}
	return nil
}

func validEnv(kv string) bool {
	for i := range len(kv) {
		if kv[i] == '=' {
			return i > 0
		}
		if kv[i] == 0 {
			return false
		}
	}
	return false
}

// wantsQEMU tells whether the user asked for something that only guests have.
func (f *bedFlags) wantsQEMU(fs *pflag.FlagSet) bool {
	if f.mode == modeQEMU || f.bed.Hosts > 1 {
		return true
	}
	for _, name := range guestFlags {
		if fs.Changed(name) {
			return true
		}
	}
	return false
}

package qemu

import (
	"fmt"
	"slices"
	"strings"

	"catmint/soft-roce/internal/guest"
)

// Spec describes a machine.
type Spec struct {
	Binary    string // QEMU's program; "" is qemu-system-x86_64 from PATH
	Name      string // of the guest, for messages
	Kernel    string // path of the kernel image
	Initramfs string // path of the archive
	Accel     Accel  // TCG or KVM
	MemoryMiB int
	CPUs      int
	IdlePoll  bool     // processors without work spin, in place of halting
	ICount    bool     // the clock counts instructions, of all processors in turn; TCG only
	Writable  []string // folders exported read-write; all others are read only
	Root      string   // exported root; "" is /
}

// Accel is how QEMU executes the guest's code.
type Accel string

// Accelerators. Auto stands for KVM where it works, and TCG elsewhere.
const (
	Auto Accel = "auto"
	TCG  Accel = "tcg"
	KVM  Accel = "kvm"
)

// cmdline is the kernel's command line. A panic ends the guest (panic=-1 resets, -no-reboot turns
// that into the end of QEMU). What slows an emulated machine and protects nothing here is off.
var cmdline = []string{
	"console=ttyS0", "loglevel=5", "panic=-1", "oops=panic",
	"mitigations=off", "nokaslr", "audit=0", "selinux=0", "apparmor=0", "no_timer_check",
	"random.trust_cpu=on", "random.trust_bootloader=on", "sysrq_always_enabled=1",
	"net.ifnames=0", "edd=off", "rdinit=" + guest.InitPath,
}

// append returns the kernel's command line for the machine. Without KVM the kernel would measure
// the time stamp counter against emulated timers, whose ticks come late and then in bursts when
// this machine is busy: a guest that is told a wrong frequency that way crawls or hangs. So it is
// told the true one, and to believe in it.
func (s Spec) append() string {
	words := cmdline
	khz := hostTSC()
	if s.ICount {
		khz = 1_000_000 // an instruction is a nanosecond
	}
	if s.Accel != KVM && khz > 0 {
		words = slices.Concat(words, []string{"tsc=reliable", fmt.Sprintf("tsc_early_khz=%d", khz)})
	}
	if s.IdlePoll {
		words = append(slices.Clone(words), "idle=poll")
	}
	return strings.Join(words, " ")
}

// File descriptors that the child finds its sockets under, see (*Machine).start.
const (
	fdConsole = 3 + iota
	fdMonitor
	fdPort
	fdNet // only for a machine with a network card
)

// args returns QEMU's arguments for the machine.
func (s Spec) args(peered bool) []string {
	root := s.Root
	if root == "" {
		root = "/"
	}
	a := []string{
		"-name", "soft-roce-" + s.Name,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,usb=off,smbus=off,sata=off,vmport=off,i8042=off,hpet=off,graphics=off",
		"-smp", fmt.Sprint(s.CPUs), "-m", fmt.Sprintf("%dM", s.MemoryMiB),
		"-kernel", s.Kernel, "-initrd", s.Initramfs, "-append", s.append(),
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", fdConsole),
		"-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", fdMonitor),
		"-mon", "chardev=monitor,mode=control",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=port,fd=%d", fdPort),
		"-device", "virtserialport,chardev=port,name=" + guest.PortName,
		// security_model=none: the guest is root inside, and outside it is whoever started it.
		"-fsdev", "local,id=root,readonly=on,security_model=none,multidevs=remap,path=" + quote(root),
		"-device", "virtio-9p-pci,fsdev=root,mount_tag=" + guest.RootTag,
	}
	for i, folder := range s.Writable {
		tag := guest.WritableTag(i)
		a = append(a,
			"-fsdev", fmt.Sprintf("local,id=%s,security_model=none,multidevs=remap,path=%s", tag, quote(folder)),
			"-device", fmt.Sprintf("virtio-9p-pci,fsdev=%s,mount_tag=%s", tag, tag))
	}
	if s.Accel == KVM {
		a = append(a, "-accel", "kvm", "-cpu", "host")
	} else if s.ICount {
		// Without erms and fsrm memory is not cleared and copied by string instructions, of which
		// TCG counts each byte: 4,096 for a page that the kernel clears.
		a = append(a, "-accel", "tcg,thread=single,tb-size=512", "-cpu", "max,la57=off,erms=off,fsrm=off",
			"-icount", "shift=0,sleep=off")
	} else {
		// One thread for each CPU. The la57 paging of "max" costs a level in every page walk.
		a = append(a, "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off")
	}
	if peered {
		a = append(a,
			"-netdev", fmt.Sprintf("stream,id=%s,server=off,addr.type=fd,addr.str=%d", netID, fdNet),
			"-device", fmt.Sprintf("virtio-net-pci,netdev=%s,id=card,mac=%s,romfile=", netID, s.mac()))
	}
	return a
}

// netID names the network backend for set_link.
const netID = "net0"

// mac returns the card's address: locally administered, the last byte from the guest's name.
func (s Spec) mac() string { return fmt.Sprintf("52:54:00:77:00:%02x", s.Name[0]) }

// quote doubles commas, which separate options.
func quote(value string) string { return strings.ReplaceAll(value, ",", ",,") }

package qemu

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func sample() Spec {
	return Spec{
		Name: "a", Kernel: "/k/vmlinuz", Initramfs: "/k/initramfs", Accel: TCG, MemoryMiB: 512, CPUs: 2,
	}
}

// value returns the argument that follows option.
func value(args []string, option string) string {
	if i := slices.Index(args, option); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

func TestMachineHasWhatTheSpecSays(t *testing.T) {
	args := sample().args(false)
	assert.Equal(t, "2", value(args, "-smp"))
	assert.Equal(t, "512M", value(args, "-m"))
	assert.Equal(t, "/k/vmlinuz", value(args, "-kernel"))
	assert.Equal(t, "/k/initramfs", value(args, "-initrd"))
	assert.Contains(t, args, "-no-reboot")
	assert.NotContains(t, args, "-netdev", "a host that is alone has no card")
	all := strings.Join(args, " ")
	assert.Contains(t, all, "local,id=root,readonly=on,security_model=none,multidevs=remap,path=/ ")
}

func TestAcceleratorDecidesProcessorAndClock(t *testing.T) {
	s := sample()
	args := s.args(false)
	assert.Contains(t, value(args, "-accel"), "tcg")
	assert.Contains(t, value(args, "-append"), "tsc_early_khz=")
	assert.Contains(t, value(args, "-append"), "panic=-1")
	s.Accel = KVM
	args = s.args(false)
	assert.Equal(t, "kvm", value(args, "-accel"))
	assert.Equal(t, "host", value(args, "-cpu"))
	assert.NotContains(t, value(args, "-append"), "tsc", "the kernel gets its clock from KVM")
}

func TestProcessorsSpinOnlyWhenAskedTo(t *testing.T) {
	s := sample()
	assert.NotContains(t, value(s.args(false), "-append"), "idle=")
	s.IdlePoll = true
	for _, s.Accel = range []Accel{TCG, KVM} {
		assert.Contains(t, value(s.args(false), "-append"), " idle=poll")
	}
	s.IdlePoll = false
	assert.NotContains(t, value(s.args(false), "-append"), "idle=", "no other machine is changed")
}

func TestAClockOfInstructionsRunsOnOneThread(t *testing.T) {
	s := sample()
	assert.NotContains(t, s.args(false), "-icount")
	s.ICount = true
	args := s.args(false)
	assert.Equal(t, "shift=0,sleep=off", value(args, "-icount"))
	assert.Contains(t, value(args, "-cpu"), "erms=off,fsrm=off")
	assert.Contains(t, value(args, "-accel"), "thread=single")
	assert.Contains(t, value(args, "-append"), "tsc_early_khz=1000000", "an instruction is a nanosecond")
}

func TestPeeredMachinesHaveCardsWithAddressesOfTheirOwn(t *testing.T) {
	a, b := sample(), sample()
	b.Name = "b"
	argsA, argsB := a.args(true), b.args(true)
	assert.Contains(t, value(argsA, "-netdev"), "stream,id=net0,server=off,addr.type=fd")
	assert.NotEqual(t, a.mac(), b.mac())
	assert.Contains(t, strings.Join(argsB, " "), "mac="+b.mac())
}

func TestCommasInPathsAreNoSeparators(t *testing.T) {
	s := sample()
	s.Root, s.Writable = "/a,b", []string{"/c,d"}
	all := strings.Join(s.args(false), " ")
	assert.Contains(t, all, "path=/a,,b ")
	assert.Contains(t, all, "path=/c,,d ")
	assert.NotContains(t, all, "readonly=on,security_model=none,multidevs=remap,path=/c")
}

func TestTheClockOfThisMachineIsPlausible(t *testing.T) {
	khz := hostTSC()
	assert.Greater(t, khz, uint64(100_000))
	assert.Less(t, khz, uint64(10_000_000))
}

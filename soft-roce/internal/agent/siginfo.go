package agent

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo reads si_pid from the siginfo_t that waitid(2) fills: on 64-bit Linux it is the first
// member of the union, which starts at byte 16 (include/uapi/asm-generic/siginfo.h).
type siginfo struct {
	info unix.Siginfo
}

const siPidOffset = 16

func (s *siginfo) raw() *unix.Siginfo { return &s.info }

func (s *siginfo) pid() int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&s.info), siPidOffset)))
}

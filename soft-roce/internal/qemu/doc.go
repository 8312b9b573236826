// Package qemu starts and ends the virtual machines of the test bed: QEMU's command line, its
// console, its monitor (QMP), the choice between KVM and TCG and the memory of how that went.
//
// A machine is connected through inherited sockets only, so that there are no socket files to leave
// behind, and dies with the process that started it. What runs inside is package guest's business.
package qemu

// Package fake stands in for QEMU and for kernels in the tests of the test bed, so that everything
// but the guest itself is tested in milliseconds, on any machine.
//
// The fake QEMU is the test's own binary: it takes the real arguments, finds its sockets where QEMU
// finds them, speaks QMP, and serves commands with the real agent, on this machine.
package fake

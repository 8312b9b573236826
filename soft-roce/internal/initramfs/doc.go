// Package initramfs builds the archive that a guest boots from: our init, the kernel modules that
// the test bed needs and the list of them. Archives are kept by the hash of what goes into them.
package initramfs

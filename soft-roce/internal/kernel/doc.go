// Package kernel finds a Linux kernel for the guests: the distribution's package, fetched once and
// unpacked into a cache folder, never installed, or an unpacked one that the user names. It also
// knows which modules depend on which.
package kernel

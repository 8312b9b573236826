// Package guest is the first process inside a guest: it loads the kernel modules, makes the host's
// files the guest's root, brings Soft-RoCE up and then serves commands (package agent) until it is
// told to power off.
//
// It is linked into the static binary guest-init and runs nowhere else. What can be tested outside
// (the protocol, running commands, module order) lives in other packages.
package guest

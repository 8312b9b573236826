// Package wire is the protocol between soft-roce outside and the agent inside a guest.
//
// It runs over one reliable byte stream (a virtio-serial port, in tests a pipe) and carries
// everything that crosses the border: the guest's configuration, commands to run, their input and
// output, signals and exit statuses. Nothing here knows about QEMU, processes or RDMA.
//
// A frame is a 12-byte little-endian header followed by its payload:
//
//	byte  0     type
//	bytes 1-3   zero
//	bytes 4-7   stream: the number of the command the frame is about, 0 for the guest itself
//	bytes 8-11  length of the payload in bytes
//
// The guest speaks first (Hello), the host answers with Boot, the guest reports Ready or Failed.
// After that the host sends Exec frames with stream numbers of its own choice; the guest answers
// each with any number of Stdout and Stderr frames and exactly one Exit, which comes last.
package wire

// Package doctor finds out what keeps a machine from using RDMA, and says what to do about
// it, one line a check: kernel modules, devices, their network devices and namespaces, device
// nodes, provider libraries, ports, GID tables, locked memory, and a connection to itself.
//
// The checks read a Host, whose files are below a root and whose other parts are functions,
// so that every finding has a test with a made-up machine.
//
// What lives here: the checks, and how their findings are printed. What must not: the command
// line, and anything that changes the machine.
package doctor

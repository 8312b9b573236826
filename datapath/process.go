package datapath

// #include "process.h"
import "C"

// CloseInChild has children made by fork close fd, until forget is called, which comes before
// fd is closed. Beyond eight descriptors at a time nothing happens.
func CloseInChild(fd int) (forget func()) {
	if C.dp_process_close_in_child(C.int(fd)) != 0 {
		return func() {}
	}
	return func() { C.dp_process_leave_to_child(C.int(fd)) }
}

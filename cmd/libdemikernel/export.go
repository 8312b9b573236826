package main

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall -Wextra -DDEMI_IMPLEMENTATION
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

extern char **environ;
*/
import "C"

import (
	"net"
	"syscall"
	"unsafe"

	"catmint/cmd/libdemikernel/sockaddr"
	"catmint/datapath"
	"catmint/libos"

	_ "catmint/include/demi" // control.c and init.c include demi/libos.h
)

// The exports have the argument order and the checks left over by control.c. Pointers are
// not NULL; what they point to is the C caller's and is not kept. Each answers 0 or a
// positive errno and writes through its pointers only with 0.

// call runs f on the socket of a descriptor.
func call(name string, qd C.int, f func(*libos.Socket) error) C.int {
	return C.int(program.guard.Call(name, func() error {
		s, err := program.socket(int32(qd))
		if err != nil {
			return err
		}
		return f(s)
	}))
}

// memory is C memory as a slice, without a copy; it must not be kept.
func memory(p unsafe.Pointer, n C.uint) []byte { return unsafe.Slice((*byte)(p), int(n)) }

//export catmint_go_init
func catmint_go_init(engineOut *unsafe.Pointer) C.int {
	return C.int(program.guard.Call("demi_init", func() error {
		e, err := program.newEngine(getenv)
		if err != nil {
			return err
		}
		*engineOut = e.Datapath().Handle()
		return nil
	}))
}

// getenv asks C: os.Getenv does not see what a program has set since the library was loaded.
func getenv(name string) string {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	v := C.getenv(c)
	if v == nil {
		return ""
	}
	return C.GoString(v)
}

// environ asks C, too.
func environ() []string {
	var all []string
	for p := C.environ; p != nil && *p != nil; p = (**C.char)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
		all = append(all, C.GoString(*p))
	}
	return all
}

//export catmint_go_exit
func catmint_go_exit() {
	// Nobody takes the errno at the end of a program.
	_ = program.guard.Call("exit", func() error {
		program.deliver()
		return nil
	})
}

//export catmint_go_socket
func catmint_go_socket(engine unsafe.Pointer, domain, typ, protocol C.int, qdOut *C.int) C.int {
	return C.int(program.guard.Call("demi_socket", func() error {
		e, err := program.engine(datapath.EngineFromHandle(engine))
		if err != nil {
			return err
		}
		s, err := e.Socket(int(domain), int(typ), int(protocol))
		if err != nil {
			return err
		}
		*qdOut = C.int(s.QD())
		return nil
	}))
}

//export catmint_go_bind
func catmint_go_bind(qd C.int, addr unsafe.Pointer, size C.uint) C.int {
	return call("demi_bind", qd, func(s *libos.Socket) error {
		ap, err := sockaddr.Parse(memory(addr, size))
		if err != nil {
			return err
		}
		return s.Bind(ap)
	})
}

//export catmint_go_listen
func catmint_go_listen(qd, backlog C.int) C.int {
	return call("demi_listen", qd, func(s *libos.Socket) error { return s.Listen(int(backlog)) })
}

//export catmint_go_accept
func catmint_go_accept(qd C.int, qtOut *C.uint64_t) C.int {
	return call("demi_accept", qd, func(s *libos.Socket) error {
		qt, err := s.Accept()
		if err != nil {
			return err
		}
		*qtOut = C.uint64_t(qt)
		return nil
	})
}

//export catmint_go_connect
func catmint_go_connect(qd C.int, addr unsafe.Pointer, size C.uint, qtOut *C.uint64_t) C.int {
	return call("demi_connect", qd, func(s *libos.Socket) error {
		ap, err := sockaddr.Parse(memory(addr, size))
		if err != nil {
			return err
		}
		qt, err := s.Connect(ap)
		if err != nil {
			return err
		}
		*qtOut = C.uint64_t(qt)
		return nil
	})
}

//export catmint_go_close
func catmint_go_close(qd C.int) C.int {
	return call("demi_close", qd, (*libos.Socket).Close)
}

//export catmint_go_setsockopt
func catmint_go_setsockopt(qd, level, name C.int, value unsafe.Pointer, size C.uint) C.int {
	return call("demi_setsockopt", qd, func(s *libos.Socket) error {
		// As in Demikernel, the length is the option's own exactly.
		old, err := s.GetOption(int(level), int(name))
		if err != nil {
			return err
		}
		if uint64(size) != uint64(len(old)) {
			return syscall.EINVAL
		}
		if err := s.SetOption(int(level), int(name), memory(value, size)); err != nil {
			return err
		}
		program.noteLinger(s)
		return nil
	})
}

//export catmint_go_getsockopt
func catmint_go_getsockopt(qd, level, name C.int, value unsafe.Pointer, size *C.uint) C.int {
	return call("demi_getsockopt", qd, func(s *libos.Socket) error {
		v, err := s.GetOption(int(level), int(name))
		if err != nil {
			return err
		}
		return copyOut(value, size, v)
	})
}

//export catmint_go_getname
func catmint_go_getname(qd, peer C.int, addr unsafe.Pointer, size *C.uint) C.int {
	name, get := "demi_getsockname", (*libos.Socket).GetSockName
	if peer != 0 {
		name, get = "demi_getpeername", (*libos.Socket).GetPeerName
	}
	return call(name, qd, func(s *libos.Socket) error {
		ap, err := get(s)
		if err != nil {
			return err
		}
		raw, err := sockaddr.Append(nil, ap, interfaceIndex)
		if err != nil {
			return err
		}
		return copyOut(addr, size, raw)
	})
}

// copyOut stores b and its size. EINVAL: there is too little room; nothing is written then.
func copyOut(to unsafe.Pointer, size *C.uint, b []byte) error {
	if uint64(*size) < uint64(len(b)) {
		return syscall.EINVAL
	}
	copy(memory(to, C.uint(len(b))), b)
	*size = C.uint(len(b))
	return nil
}

func interfaceIndex(zone string) uint32 {
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return uint32(i.Index)
}

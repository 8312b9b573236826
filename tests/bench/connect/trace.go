package connect

import (
	"bufio"
	"io"
	"regexp"
	"strings"
)

// The kinds of system calls that traces are counted by.
const (
	callCM     = "rdma_cm"     // writes to /dev/infiniband/rdma_cm: each is one command
	callVerbs  = "verbs"       // ioctl and write on /dev/infiniband/uverbs*
	callMemory = "memory"      // mmap, munmap and the like
	callEvents = "events"      // poll, epoll, eventfd, completion channels: waiting for the kernel
	callFutex  = "futex"       // threads that wake threads
	callOther  = "other"       //
	markUp     = `write(1<`    // of a contestant's line, with
	lineUp     = `, "up`       // once it is established
	lineDown   = `, "down`     // once it is released
	lineBegin  = `, "c`        // of the test's line that asks for one,
	lineLeave  = `, "d`        // and of that which asks for its release
	device     = "infiniband/" // in the name of a descriptor
)

var callKinds = []string{callCM, callVerbs, callMemory, callEvents, callFutex, callOther}

// calls counts system calls by kind.
type calls map[string]int

func (c calls) total() (n int) {
	for _, k := range callKinds {
		n += c[k]
	}
	return n
}

// cycle is one connection in a trace: what it took to establish it, and to release it.
type cycle struct{ setUp, tearDown calls }

// all is what it took from the beginning to the release. A server may hear that it is connected
// only when its peer has left again, so that its two parts cannot be told apart.
func (c cycle) all() calls {
	out := calls{}
	for _, k := range callKinds {
		out[k] = c.setUp[k] + c.tearDown[k]
	}
	return out
}

// syscallLine is a line of "strace -f -y": a thread, a call and its arguments. The second half
// of a call that was interrupted ("<... resumed") is not counted again.
var syscallLine = regexp.MustCompile(`^\d+ +(?:[\d.:]+ +)?([a-z_0-9]+)\((.*)`)

// readTrace splits a trace at the contestant's lines.
func readTrace(r io.Reader) ([]cycle, error) {
	var out []cycle
	cur := cycle{calls{}, calls{}}
	up := false
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		m := syscallLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if strings.Contains(line, markUp) {
			switch {
			case strings.Contains(line, lineUp):
				up = true
			case strings.Contains(line, lineDown):
				out = append(out, cur)
				cur, up = cycle{calls{}, calls{}}, false
			}
			continue
		}
		if strings.Contains(line, "(0<") && m[1] == "read" {
			switch {
			case strings.Contains(line, lineBegin): // here, whatever came before
				cur.setUp, up = calls{}, false
			case strings.Contains(line, lineLeave): // the connection has been waiting for this
				cur.tearDown = calls{}
			}
			continue
		}
		if up {
			cur.tearDown[kindOf(m[1], m[2])]++
		} else {
			cur.setUp[kindOf(m[1], m[2])]++
		}
	}
	return out, in.Err()
}

func kindOf(name, args string) string {
	first, _, _ := strings.Cut(args, ",")
	switch name {
	case "futex":
		return callFutex
	case "mmap", "munmap", "madvise", "mprotect", "brk":
		return callMemory
	case "poll", "ppoll", "epoll_pwait", "epoll_wait", "epoll_ctl":
		return callEvents
	case "ioctl", "write", "read", "pwrite64":
		switch {
		case strings.Contains(first, device+"rdma_cm"):
			return callCM
		case strings.Contains(first, device+"uverbs"):
			return callVerbs
		case strings.Contains(first, "anon_inode"):
			return callEvents
		}
	}
	return callOther
}

// medianCalls is the typical number of each kind; some calls come now and then.
func medianCalls(cycles []cycle, part func(cycle) calls) calls {
	return callsOf(cycles, part, func(s spread) float64 { return s.median })
}

// quietCalls is the number of each kind in cycles that were disturbed little: the lower quartile.
// A busy machine puts the parts of a connection to sleep more often.
func quietCalls(cycles []cycle, part func(cycle) calls) calls {
	return callsOf(cycles, part, func(s spread) float64 { return s.low })
}

func callsOf(cycles []cycle, part func(cycle) calls, pick func(spread) float64) calls {
	out := calls{}
	for _, k := range callKinds {
		var v []float64
		for _, c := range cycles {
			v = append(v, float64(part(c)[k]))
		}
		out[k] = int(pick(spreadOf(v)))
	}
	return out
}

// Package track counts the objects of the binding and of the simulated fabric that are
// open, and remembers, when asked to, the stack that made each of them.
//
// What must not live here: any knowledge of what the objects are.
package track

import (
	"fmt"
	"runtime"
	"sort"
	"strings"
	"sync"
)

const maxFrames = 32

var (
	mu     sync.Mutex
	on     bool
	counts = map[string]int{}
	live   = map[*Record]struct{}{}
)

// Record stands for one open object.
type Record struct {
	kind string
	pcs  []uintptr
	done bool
}

// Enable starts or stops remembering stacks; objects that are open already are not
// remembered. Counting is always on.
func Enable(enable bool) {
	mu.Lock()
	defer mu.Unlock()
	on = enable
	if !on {
		clear(live)
	}
}

// Open notes that an object of a kind, such as "QP", has been made by the caller.
func Open(kind string) *Record {
	r := &Record{kind: kind}
	mu.Lock()
	defer mu.Unlock()
	counts[kind]++
	if on {
		r.pcs = make([]uintptr, maxFrames)
		r.pcs = r.pcs[:runtime.Callers(2, r.pcs)]
		live[r] = struct{}{}
	}
	return r
}

// Close notes that the object is gone. A second call does nothing.
func (r *Record) Close() {
	mu.Lock()
	defer mu.Unlock()
	if r.done {
		return
	}
	r.done = true
	counts[r.kind]--
	delete(live, r)
}

// Counts returns how many objects of each kind are open, leaving out kinds with none.
func Counts() map[string]int {
	mu.Lock()
	defer mu.Unlock()
	out := make(map[string]int)
	for kind, n := range counts {
		if n != 0 {
			out[kind] = n
		}
	}
	return out
}

// Leaks describes each object that was made since Enable and is still open: its kind and
// the stack that made it. The order is stable.
func Leaks() []string {
	mu.Lock()
	defer mu.Unlock()
	out := make([]string, 0, len(live))
	for r := range live {
		out = append(out, r.describe())
	}
	sort.Strings(out)
	return out
}

func (r *Record) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s made by", r.kind)
	frames := runtime.CallersFrames(r.pcs)
	for {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&b, "\n\t%s\n\t\t%s:%d", f.Function, f.File, f.Line)
		}
		if !more {
			return b.String()
		}
	}
}

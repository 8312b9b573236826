//go:build demisim

package background

import "sync/atomic"

var order atomic.Pointer[func(name string) bool]

// Order has Checkpoint ask whether to panic at the place called name.
func Order(ask func(name string) bool) { order.Store(&ask) }

// Checkpoint panics if a test has ordered it.
func Checkpoint(name string) {
	if ask := order.Load(); ask != nil && (*ask)(name) {
		panic("ordered by a test")
	}
}

//go:build rdma

package libos

import "testing"

func TestSoftRoCEAThreadOutsideGoTakesTheEventsOfItsConnection(t *testing.T) {
	a, b := newBed(t, testConfig())
	watchedFromOutside(t, a, b)
}

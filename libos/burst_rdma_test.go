//go:build rdma

package libos

import "testing"

func TestSoftRoCEBurstsTakeFewCalls(t *testing.T) {
	a, b := newBed(t, largeWindow())
	burstsInFewCalls(t, a, b, 64, nil)
	burstsInFewCalls(t, a, b, largestEager(a), nil)
}

func TestSoftRoCEWhatASilentApplicationPushedIsSent(t *testing.T) {
	for _, cfg := range []Config{testConfig(), largeWindow()} {
		a, b := newBed(t, cfg)
		pushesWithoutWaiting(t, a, b)
	}
}

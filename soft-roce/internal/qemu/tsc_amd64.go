package qemu

import (
	"sync"
	"time"
)

// rdtsc reads the processor's time stamp counter.
func rdtsc() uint64

// tscSample is how long the counter is measured: the clock's error in it is far below a thousandth.
const tscSample = 20 * time.Millisecond

// hostTSC returns the frequency of this machine's time stamp counter in kHz. Under TCG that is the
// guest's as well (QEMU's cpu_get_host_ticks).
var hostTSC = sync.OnceValue(func() uint64 {
	begin, first := time.Now(), rdtsc()
	time.Sleep(tscSample)
	took, last := time.Since(begin), rdtsc()
	if last <= first {
		return 0 // stopped or moved to another machine in between
	}
	return uint64(float64(last-first) / took.Seconds() / 1000)
})

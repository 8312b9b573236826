package testbed

import (
	"testing"
	"time"
)

// SetPowerOffGrace changes for a test how long hosts get to power off.
func SetPowerOffGrace(t *testing.T, d time.Duration) {
	t.Helper()
	old := powerOffGrace
	powerOffGrace = d
	t.Cleanup(func() { powerOffGrace = old })
}

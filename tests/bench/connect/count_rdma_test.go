//go:build rdma

package connect

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The commands to the kernel of a warm connection from its beginning to its release may not grow
// unnoticed. librdmacm alone takes 18 and 9 on the connecting side, 13 and 7 on the accepting one
// (Debian 12's). libos takes some more where its goroutines meet otherwise than they mostly do.
func TestAWarmConnectionTakesNoMoreCommandsThanRecorded(t *testing.T) {
	bare := bareProgram(t)
	most := map[string][4]int{ // rdma_cm and verbs: connecting side, accepting side
		matches[0].String(): {18, 9, 13, 7},
		matches[1].String(): {33, 18, 13, 7},
		matches[2].String(): {33, 18, 13, 7},
		matches[3].String(): {18, 9, 31, 18},
		matches[4].String(): {18, 9, 31, 18},
	}
	some := matches
	if testing.Short() {
		some = []match{matches[1], matches[4]} // strace makes them slow
	}
	for _, m := range some {
		t.Run(m.String(), func(t *testing.T) {
			client, activeTrace := traced(t, bare, m.client, "connect")
			server, passiveTrace := traced(t, bare, m.server, "serve")
			const warmUp, counted = 3, 7
			for range warmUp {
				cycleOf(t, client, server)
			}
			before := counters(t)
			for range counted {
				cycleOf(t, client, server)
			}
			after := counters(t)
			for name, n := range map[string]int{
				"cm_tx_msgs/req": 1, "cm_tx_msgs/rep": 1, "cm_tx_msgs/rtu": 1, "cm_tx_msgs/dreq": 1,
				"cm_tx_msgs/drep": 1, "hw_counters/sent_pkts": 5,
			} {
				got, lost := after[name]-before[name], after["cm_tx_retries/req"]-before["cm_tx_retries/req"]
				assert.GreaterOrEqual(t, got, n*counted, name)
				assert.LessOrEqual(t, got, n*counted+2*counted*lost, name)
			}
			a, p := medianCalls(activeTrace()[warmUp:], cycle.all), medianCalls(passiveTrace()[warmUp:], cycle.all)
			t.Logf("connecting %v, accepting %v", a, p)
			limit := most[m.String()]
			assert.LessOrEqual(t, a[callCM], limit[0], "rdma_cm, connecting")
			assert.LessOrEqual(t, a[callVerbs], limit[1], "verbs, connecting")
			assert.LessOrEqual(t, p[callCM], limit[2], "rdma_cm, accepting")
			assert.LessOrEqual(t, p[callVerbs], limit[3], "verbs, accepting")
		})
	}
}

//go:build rdma

package connect

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What a warm connection asks of the kernel from its beginning to its release may not grow
// unnoticed. librdmacm alone takes 18 and 9 on the connecting side, 13 and 7 on the accepting one
// (Debian 12's), and one thread that wakes nobody. How often the goroutines of libos sleep depends
// on who is first, and on what else the machine does: those limits are loose, and for the quieter
// cycles.
func TestAWarmConnectionTakesNoMoreCallsThanRecorded(t *testing.T) {
	in := build(t)
	alone := [2]calls{{callCM: 18, callVerbs: 9}, {callCM: 13, callVerbs: 7}}
	ours := [2]calls{
		{callCM: 17, callVerbs: 13, callEvents: 45, callFutex: 45},
		{callCM: 13, callVerbs: 15, callEvents: 45, callFutex: 45},
	}
	most := func(c contestant, side int) calls {
		if c.bare {
			return alone[side]
		}
		return ours[side]
	}
	some := matches
	if testing.Short() {
		some = []match{matches[1], matches[4]} // strace makes them slow
	}
	for _, m := range some {
		t.Run(m.String(), func(t *testing.T) {
			client, activeTrace := traced(t, in, m.client, "connect")
			server, passiveTrace := traced(t, in, m.server, "serve")
			const warmUp, counted = 3, 15
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
			for side, end := range []struct {
				name   string
				who    contestant
				cycles []cycle
			}{{"connecting", m.client, activeTrace()}, {"accepting", m.server, passiveTrace()}} {
				all := medianCalls(end.cycles[warmUp:], cycle.all)
				t.Logf("%s: %v, of these until established: %v", end.name, all,
					medianCalls(end.cycles[warmUp:], func(c cycle) calls { return c.setUp }))
				limit, quiet := most(end.who, side), quietCalls(end.cycles[warmUp:], cycle.all)
				for _, kind := range []string{callCM, callVerbs} {
					assert.LessOrEqual(t, all[kind], limit[kind], "%s, %s", kind, end.name)
				}
				for _, kind := range []string{callEvents, callFutex} {
					assert.LessOrEqual(t, quiet[kind], limit[kind], "%s, %s", kind, end.name)
				}
			}
		})
	}
}

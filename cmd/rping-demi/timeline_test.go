package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/libos"
	"catmint/rdma"
	"catmint/rdma/sim"
)

func at(begin time.Time, ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }

// tried is a connection whose address was resolved at the second try.
func tried() (libos.Info, pingTimes) {
	begin := time.Unix(1000, 0)
	i := libos.Info{
		Remote: netip.MustParseAddrPort("192.0.2.1:7174"),
		Phases: libos.Phases{
			Started: begin, AddrResolved: at(begin, 20), QPCreated: at(begin, 30), QPReady: at(begin, 40),
			RouteResolved: at(begin, 41), Sent: at(begin, 50), Established: at(begin, 79), Ready: at(begin, 80),
		},
		Retries: []libos.Retry{{At: at(begin, 10), Phase: "resolving the address", Detail: "ADDR_ERROR -110"}},
	}
	return i, pingTimes{at(begin, 90), at(begin, 100)}
}

func TestAWaterfallShowsEachPhaseFromItsBeginningToItsEnd(t *testing.T) {
	i, ping := tried()
	var out bytes.Buffer
	tk := task{opts: options{timeline: true}, out: &out}
	require.NoError(t, tk.drawTimeline(drawn{info: i, ping: ping}))
	assert.Equal(t, `timeline of the connection with 192.0.2.1:7174:
  at     0.0 us  +   10.0 ms  |#####                                             |  retry: resolving the address (ADDR_ERROR -110)
  at    10.0 ms  +   10.0 ms  |     #####                                        |  address resolved
  at    20.0 ms  +   10.0 ms  |          #####                                   |  QP created
  at    30.0 ms  +   10.0 ms  |               #####                              |  receives posted
  at    40.0 ms  + 1000.0 us  |                    #                             |  route resolved
  at    41.0 ms  + 9000.0 us  |                    #####                         |  connect sent
  at    50.0 ms  +   29.0 ms  |                         ##############           |  established
  at    79.0 ms  + 1000.0 us  |                                       #          |  data plane ready
  at    90.0 ms  +   10.0 ms  |                                             #####|  first ping back
`, out.String())

	out.Reset()
	tk.opts.timeline = false
	require.NoError(t, tk.drawTimeline(drawn{info: i, ping: ping}))
	assert.Empty(t, out.String())
}

func TestSeveralConnectionsAreRowsOnOneAxis(t *testing.T) {
	i, ping := tried()
	late := i
	late.Retries = nil
	late.Phases.Started = at(i.Phases.Started, 10)
	var out bytes.Buffer
	tk := task{opts: options{timeline: true}, out: &out}
	require.NoError(t, tk.drawTimeline(drawn{info: i, ping: ping}, drawn{info: late, ping: ping}))
	assert.Equal(t, `timeline of 2 connections with 192.0.2.1:7174:
     1  at     0.0 us  |!!!!!aaaaaqqqqqppppprsssseeeeeeeeeeeeeed     =====|  80.0 ms
     2  at    10.0 ms  |     aaaaaqqqqqppppprsssseeeeeeeeeeeeeed     =====|  70.0 ms
  until: a address resolved, q QP created, p receives posted, r route resolved, s connect sent, e established, d data plane ready, = first ping back, ! retry; the axis is 100.0 ms long, the time on the right is that to connect
`, out.String())
}

func TestATimelineOfNothingHasNoPhases(t *testing.T) {
	assert.Empty(t, spans(libos.Info{}, pingTimes{}, "", time.Time{}))
	var out bytes.Buffer
	waterfall(&out, nil, time.Time{})
	assert.Empty(t, out.String())
}

func TestClientAndServerDrawTheirSideOfAConnection(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-a", serverAddr, "--timeline", "--protocol", "demi")
	c := start(t, ch, "-c", "-a", serverAddr, "--timeline", "--protocol", "demi")
	c.exit(t, exitOK)
	s.exit(t, exitOK)
	names := []string{"address resolved", "QP created", "receives posted", "route resolved", "connect sent", "established", "first ping back"}
	for _, want := range append(names, "timeline of the connection with 10.0.0.1:7174", "1 ping of 64 bytes") {
		assert.Contains(t, c.out.String(), want)
	}
	assert.NotContains(t, c.out.String(), "retry")
	for _, want := range []string{"timeline of the connection with 10.0.0.2", "receives posted", "accept sent", "established"} {
		assert.Contains(t, s.out.String(), want)
	}
}

func TestATimelineInRpingsProtocolHasWhatLibosSees(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-a", serverAddr, "--protocol", "rping")
	c := start(t, ch, "-c", "-a", serverAddr, "--timeline", "--protocol", "rping")
	c.exit(t, exitOK)
	s.exit(t, exitOK)
	for _, want := range []string{"address resolved", "QP ready", "connect sent", "established", "first ping back"} {
		assert.Contains(t, c.out.String(), want)
	}
}

func TestTimelinesOfManyConnectionsAsJSON(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-P", "--protocol", "demi")
	sh.Network().When(sim.Event(rdma.AddrResolved)).Become(rdma.AddrError, -int(syscall.ETIMEDOUT))
	c := start(t, ch, "-c", "-a", serverAddr, "--timeline", "--connections", "3", "--json", "--mode", "rate", "--protocol", "demi")
	c.exit(t, exitOK)
	s.stop()
	s.exit(t, exitOK)
	retries := 0
	lines := strings.Split(strings.TrimSpace(c.out.String()), "\n")
	require.Len(t, lines, 4, "three timelines and a report")
	for i, line := range lines[:3] {
		var r timelineReport
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		assert.Equal(t, i+1, r.Connection)
		assert.Equal(t, modeTimeline, r.Mode)
		assert.Equal(t, "sima", r.Device)
		assert.Positive(t, r.Connected)
		assert.Equal(t, "first ping back", r.Phases[len(r.Phases)-1].Name)
		for _, p := range r.Phases {
			assert.LessOrEqual(t, p.Begin, p.End)
		}
		retries += r.Retries
	}
	assert.Equal(t, 1, retries)
}

func TestAConnectThatFailsIsDrawnUpToItsEnd(t *testing.T) {
	for _, protocol := range []string{"demi", "auto", "rping"} {
		_, ch := newHosts(t)
		c := start(t, ch, "-c", "-a", serverAddr, "--timeline", "--protocol", protocol)
		c.exit(t, exitFailure)
		assert.Equal(t, 1, strings.Count(c.out.String(), "timeline of"), protocol)
		assert.Contains(t, c.out.String(), "timeline of the connection with 10.0.0.1:7174", protocol)
		assert.Contains(t, c.out.String(), "failed: ECONNREFUSED", protocol)
		assert.Contains(t, c.out.String(), "route resolved", protocol)
		assert.Equal(t, 1, strings.Count(c.err.String(), "\n"), protocol)
	}
}

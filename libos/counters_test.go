package libos

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/datapath"
)

// What one side counts is what the other side did, and what both were made to do.
func TestTheCountersOfBothSidesAgreeWithWhatWasDone(t *testing.T) {
	p := newPlace(t, metricsConfig())
	a, b, _ := p.connected(t)
	const smalls, larges, small, large = 3, 2, 5, 20000
	for range smalls {
		p.a.send(t, a, strings.Repeat("s", small))
		p.b.recv(t, b)
	}
	for range larges {
		qt, err := b.Push([]byte(strings.Repeat("l", large)))
		require.NoError(t, err)
		require.Len(t, p.a.recv(t, a), large)
		p.b.wait(t, qt)
	}
	here, there := connStats(t, a), connStats(t, b)
	for name, c := range map[string]struct{ want, got uint64 }{
		"pushes of a":         {smalls, here.Pushes},
		"pops of b":           {smalls, there.Pops},
		"pushes of b":         {larges, there.Pushes},
		"pops of a":           {larges, here.Pops},
		"bytes from a":        {smalls * small, here.BytesOut},
		"bytes at b":          {smalls * small, there.BytesIn},
		"bytes from b":        {larges * large, there.BytesOut},
		"bytes at a":          {larges * large, here.BytesIn},
		"inline sends of a":   {smalls, here.InlineSends},
		"inline sends of b":   {0, there.InlineSends},
		"large messages of a": {0, here.LargeOut},
		"large messages of b": {larges, there.LargeOut},
		"large ones at a":     {larges, here.LargeIn},
		"large ones at b":     {0, there.LargeIn},
		"READs of a":          {larges, here.Reads},
		"READs of b":          {0, there.Reads},
		"messages waiting":    {0, here.Waiting + there.Waiting},
		"failures by RNR":     {0, here.RNREvents + there.RNREvents},
	} {
		assert.Equal(t, c.want, c.got, name)
	}

	// Soft-RoCE is not asked for ibv_wr_start. What is not as usual goes the other way.
	require.LessOrEqual(t, here.WRSends, here.Pushes)
	for i := 0; anywhere == nil && connStats(t, a).WRSends == 0; i++ {
		require.Less(t, i, 1000, "none goes by ibv_wr_start")
		p.a.send(t, a, "by ibv_wr_start")
		p.b.recv(t, b)
	}
	require.True(t, anywhere == nil || connStats(t, a).WRSends == 0)

	// One way only: credits come back by themselves, and the window grows.
	for connStats(t, b).CreditsOut == 0 || connStats(t, b).WindowGrown == 0 {
		p.a.send(t, a, "one way")
		p.b.recv(t, b)
	}
	require.Eventually(t, func() bool {
		here, there = connStats(t, a), connStats(t, b)
		return here.FramesOut == there.FramesIn && there.FramesOut == here.FramesIn
	}, patience, time.Millisecond)
	assert.Equal(t, there.CreditsOut, here.CreditsIn)
	assert.Equal(t, here.CreditsOut, there.CreditsIn)
	assert.Greater(t, there.Window, uint64(p.b.p.Config().DataWindow))
	assert.LessOrEqual(t, here.Credit, there.Window)
	assert.Positive(t, here.Credit)
	for name, s := range map[string]datapath.ConnStats{"a": here, "b": there} {
		assert.Positive(t, s.PostRecvs, name)
		assert.LessOrEqual(t, s.PostSends, s.FramesOut+s.Reads, name)
		assert.GreaterOrEqual(t, s.FramesOut, s.Pushes+s.CreditsOut+s.PingsOut, name)
	}

	for _, n := range []*node{p.a, p.b} {
		engine, conn := scrape(t, n.p, "/metrics"), scrape(t, n.p, "/metrics/connections")
		now := n.p.Stats().Traffic
		for _, m := range trafficMetrics {
			assert.EqualValues(t, m.value(&now), value(t, engine, prefix+m.name), m.name)
			assert.EqualValues(t, m.value(&now), value(t, conn, prefix+"connection_"+m.name), m.name)
		}
	}
}

// numbered sets every number of a struct to one of its own.
func numbered(s any) map[string]uint64 {
	of := map[string]uint64{}
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.CanUint() {
			f.SetUint(uint64(i) + 1)
			of[v.Type().Field(i).Name] = f.Uint()
		}
	}
	return of
}

func TestEachMetricIsTheCounterThatItsNameSays(t *testing.T) {
	var traffic datapath.ConnStats
	want := map[string]string{
		"pushes_total": "Pushes", "pops_total": "Pops", "sent_bytes_total": "BytesOut", "received_bytes_total": "BytesIn",
		"messages_waiting": "Waiting", "send_credit": "Credit",
		"frames_sent_total": "FramesOut", "frames_received_total": "FramesIn",
		"credit_frames_sent_total": "CreditsOut", "credit_frames_received_total": "CreditsIn",
		"inline_sends_total": "InlineSends", "wr_sends_total": "WRSends", "post_sends_total": "PostSends", "post_recvs_total": "PostRecvs",
		"large_messages_sent_total": "LargeOut", "large_messages_received_total": "LargeIn", "rdma_reads_total": "Reads",
		"pings_sent_total": "PingsOut", "pings_received_total": "PingsIn", "receive_window": "Window",
		"window_grown_total": "WindowGrown", "window_no_budget_total": "WindowNoBudget",
		"window_no_memory_total": "WindowNoMemory", "rnr_failures_total": "RNREvents",
	}
	of := numbered(&traffic)
	assert.Len(t, of, len(trafficMetrics), "every counter is served")
	assert.Len(t, want, len(trafficMetrics))
	for _, m := range trafficMetrics {
		assert.Equal(t, of[want[m.name]], m.value(&traffic), m.name)
	}

	var control Stats
	want = map[string]string{
		"connects_started_total": "Started", "connects_established_total": "Connects", "connect_retries_total": "Retries",
		"connect_probes_total": "Probes", "requests_total": "Requests", "accepts_total": "Accepts", "accepts_lost_total": "Lost",
		"request_probes_total": "Probed", "unexpected_events_total": "Unexpected", "leaks_total": "Leaks", "connections": "Connections",
	}
	of = numbered(&control)
	delete(of, "Refused") // by reason, in Refusals
	delete(of, "BadHellos")
	assert.Len(t, of, len(controlMetrics), "every counter is served")
	assert.Len(t, want, len(controlMetrics))
	for _, m := range controlMetrics {
		assert.Equal(t, of[want[m.name]], m.value(&control), m.name)
	}
}

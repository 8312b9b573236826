package libos

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/libos/hello"
	"catmint/libos/metrics/metricstest"
	"catmint/rdma"
	"catmint/rdma/sim"
)

// scrape fetches metrics as Prometheus does.
func scrape(t *testing.T, p *Process, path string) map[string]*dto.MetricFamily {
	t.Helper()
	require.NotNil(t, p.MetricsAddr())
	families := metricstest.Get(t, "http://"+p.MetricsAddr().String()+path)
	for name, f := range families {
		assert.True(t, strings.HasPrefix(name, "catmint_"), name)
		assert.NotEmpty(t, f.GetHelp(), name)
		assert.Equal(t, f.GetType() == dto.MetricType_COUNTER, strings.HasSuffix(name, "_total"), name)
	}
	return families
}

// value is that of the only sample that has these labels, names and values in turn.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) int {
	t.Helper()
	require.Contains(t, families, name)
	var found []*dto.Metric
	for _, m := range families[name].GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && have[labels[i]] == labels[i+1]
		}
		if match {
			found = append(found, m)
		}
	}
	require.Len(t, found, 1, "%s %v", name, labels)
	return int(found[0].GetCounter().GetValue() + found[0].GetGauge().GetValue())
}

func metricsConfig() Config {
	cfg := testConfig()
	cfg.MetricsAddr = "127.0.0.1:0"
	return cfg
}

func TestPrometheusSeesWhatConnectionsDo(t *testing.T) {
	p := newPair(t, metricsConfig(), sim.Config{})
	lis, at := p.b.listen(t, p.b.addr, 4)
	a := p.a.connect(t, netip.AddrPort{}, at)
	b := p.b.accept(t, lis)
	p.a.send(t, a, "one")
	p.a.send(t, a, "three")
	require.Equal(t, "one", p.b.recv(t, b))

	m := scrape(t, p.a.p, "/metrics")
	for name, want := range map[string]int{
		"catmint_connects_started_total": 1, "catmint_connects_established_total": 1, "catmint_connections": 1,
		"catmint_pushes_total": 2, "catmint_sent_bytes_total": 8, "catmint_frames_sent_total": 2, "catmint_leaks_total": 0,
	} {
		assert.Equal(t, want, value(t, m, name), name)
	}
	assert.Positive(t, value(t, m, "catmint_arena_bytes"))
	assert.Positive(t, value(t, m, "catmint_send_credit"))

	require.Eventually(t, func() bool { return p.b.p.Stats().Traffic.Waiting == 1 }, patience, time.Millisecond)
	m = scrape(t, p.b.p, "/metrics")
	for name, want := range map[string]int{
		"catmint_requests_total": 1, "catmint_accepts_total": 1, "catmint_pops_total": 1,
		"catmint_received_bytes_total": 3, "catmint_messages_waiting": 1,
	} {
		assert.Equal(t, want, value(t, m, name), name)
	}

	m = scrape(t, p.b.p, "/metrics/connections")
	assert.Equal(t, 1, value(t, m, "catmint_connection_pops_total", "remote", a.Info().Local.String(), "device", "simb"))
	conns := p.b.p.Connections()
	require.Len(t, conns, 1)
	assert.Equal(t, b.QD(), conns[0].QD)

	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	p.a.quiesce(t)
	p.b.quiesce(t)
	assert.Empty(t, p.a.p.Connections())
	m = scrape(t, p.a.p, "/metrics")
	assert.Equal(t, 2, value(t, m, "catmint_pushes_total"), "what a connection did stays when it has gone")
	assert.Equal(t, 0, value(t, m, "catmint_connections"))
	m = scrape(t, p.b.p, "/metrics")
	assert.Equal(t, 0, value(t, m, "catmint_messages_waiting"))
	assert.Empty(t, scrape(t, p.b.p, "/metrics/connections"))
	require.NoError(t, lis.Close())
}

func TestFailuresAndRefusalsAreCountedByReason(t *testing.T) {
	p := newPair(t, metricsConfig(), sim.Config{})
	_, _ = p.a.mustFail(t, netip.AddrPortFrom(p.b.addr, 4711))
	lis, at := p.b.listen(t, p.b.addr, 1)
	full := p.a.connect(t, netip.AddrPort{}, at)
	_, _ = p.a.mustFail(t, at)
	m := scrape(t, p.a.p, "/metrics")
	assert.Equal(t, 2, value(t, m, "catmint_connects_failed_total", "errno", "ECONNREFUSED"))
	m = scrape(t, p.b.p, "/metrics")
	assert.Equal(t, 1, value(t, m, "catmint_requests_refused_total", "reason", hello.ReasonFull.String()))
	require.NoError(t, full.Close())
	require.NoError(t, lis.Close())
}

func TestWhatIsTriedAgainIsCountedAndTold(t *testing.T) {
	cfg := testConfig()
	cfg.RetryDelay = time.Millisecond
	p := newPair(t, cfg, sim.Config{})
	lis, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Event(rdma.AddrResolved)).Become(rdma.AddrError, -int(syscall.ETIMEDOUT))
	p.net.When(sim.Message(sim.REQ)).Reject(10) // stale connection
	s := p.a.connect(t, netip.AddrPort{}, at)
	i := s.Info()
	require.Len(t, i.Retries, 2)
	assert.Equal(t, "resolving the address", i.Retries[0].Phase)
	assert.Contains(t, i.Retries[0].Detail, "ADDR_ERROR")
	assert.Equal(t, "waiting for the peer's answer", i.Retries[1].Phase)
	assert.Contains(t, i.Retries[1].Detail, "rejected, reason 10")
	assert.False(t, i.Phases.RouteResolved.Before(i.Phases.AddrResolved))
	assert.False(t, i.Phases.Sent.Before(i.Phases.RouteResolved))
	last := i.Phases.Started
	for n, now := range []time.Time{
		i.Retries[0].At, i.Retries[1].At, i.Phases.AddrResolved, i.Phases.QPCreated, i.Phases.QPReady,
		i.Phases.Sent, i.Phases.Established, i.Phases.Ready,
	} {
		assert.False(t, now.Before(last), "moment %d", n)
		last = now
	}
	assert.EqualValues(t, 2, p.a.p.Stats().Retries)
	assert.EqualValues(t, 1, p.a.p.Stats().Started)
	require.NoError(t, s.Close())
	require.NoError(t, lis.Close())
}

func TestCountersAreReadWhileConnectionsComeAndGo(t *testing.T) {
	p := newPlace(t, metricsConfig())
	lis, at := p.b.listen(t, p.b.addr, 4)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for _, n := range []*node{p.a, p.b} {
		readers.Go(func() {
			for last := uint64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				now := n.p.Stats().Traffic.Pushes
				assert.GreaterOrEqual(t, now, last, "counters never fall")
				last = now
				n.p.Connections()
			}
		})
	}
	const cycles, pings = 10, 10
	for range cycles {
		a := p.a.connect(t, netip.AddrPort{}, at)
		b := p.b.accept(t, lis)
		for range pings {
			p.a.send(t, a, "ping")
			require.Equal(t, "ping", p.b.recv(t, b))
		}
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	}
	close(stop)
	readers.Wait()
	assert.EqualValues(t, cycles*pings, p.a.p.Stats().Traffic.Pushes)
	assert.EqualValues(t, cycles*pings, p.b.p.Stats().Traffic.Pops)
	require.NoError(t, lis.Close())
}

func TestAnAddressThatCannotServeMetricsIsOneLineAndBreaksNothing(t *testing.T) {
	p := newPair(t, metricsConfig(), sim.Config{})
	taken := p.a.p.MetricsAddr().String()
	var out bytes.Buffer
	defer func(w io.Writer) { complaints = w }(complaints)
	complaints = &out

	cfg := testConfig()
	cfg.Logger, cfg.MetricsAddr = nil, taken
	n := newNode(t, cfg, p.hosts[1], "10.0.0.2", "")
	assert.Nil(t, n.p.MetricsAddr())
	assert.Equal(t, 1, strings.Count(out.String(), "\n"))
	for _, want := range []string{"no metrics at " + taken, "address already in use", "goes on"} {
		assert.Contains(t, out.String(), want)
	}
	lis, at := n.listen(t, n.addr, 1)
	require.NoError(t, p.a.connect(t, netip.AddrPort{}, at).Close())
	require.NoError(t, lis.Close())

	out.Reset()
	again, err := NewConnector(cfg, p.hosts[1])
	require.NoError(t, err)
	assert.Empty(t, out.String(), "it has been said")
	require.NoError(t, again.Close(within(t)))

	cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
	c, err := NewConnector(cfg, p.hosts[1])
	require.NoError(t, err)
	assert.Contains(t, out.String(), "level=ERROR")
	require.NoError(t, c.Close(within(t)))
}

func TestAConnectorServesItsCountersToo(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	c, err := NewConnector(metricsConfig(), p.hosts[0])
	require.NoError(t, err)
	resp, err := http.Get("http://" + c.metrics.Addr().String() + "/metrics")
	require.NoError(t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Contains(t, string(b), `catmint_connects_started_total{engine="raw"} 0`)
	require.NoError(t, c.Close(within(t)))
}

func TestAnEndedProcessServesNothingAndKeepsItsCounters(t *testing.T) {
	n := sim.New(sim.Config{RealTime: true})
	host := n.AddHost("a", sim.DeviceConfig{Name: "sima", Addrs: prefixes("10.0.0.1/24")})
	p, err := New(metricsConfig(), host)
	require.NoError(t, err)
	e, err := p.NewEngine()
	require.NoError(t, err)
	node := &node{p: p, e: e}
	_, _ = node.mustFail(t, netip.MustParseAddrPort("10.0.0.1:4711"))
	at := p.MetricsAddr().String()
	require.NoError(t, p.Close())
	_, err = http.Get("http://" + at + "/metrics") //nolint:bodyclose // there is none
	require.Error(t, err)
	assert.EqualValues(t, 1, p.Stats().Failures[syscall.ECONNREFUSED])
	require.NoError(t, n.Close())
}

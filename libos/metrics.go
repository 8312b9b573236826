package libos

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"catmint/datapath"
	"catmint/libos/connfsm"
	"catmint/libos/metrics"
	"catmint/rdma"
)

// ValidMetricsAddr says whether s is HOST:PORT, with a numeric port; the host may be missing,
// which means every address.
func ValidMetricsAddr(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// DeviceCounters are the hardware counters of a device's port, by the names that its driver
// gives them. They count for all programs that use the device.
type DeviceCounters struct {
	Device   string
	Port     int
	Counters map[string]uint64
}

// hwCounters is a device that has hardware counters; the simulation's have none.
type hwCounters interface {
	HWCounters(port int) (map[string]uint64, error)
}

func deviceCounters(devices []rdma.Device) []DeviceCounters {
	var out []DeviceCounters
	for _, d := range devices {
		r, ok := d.(hwCounters)
		if !ok {
			continue
		}
		for port := 1; port <= d.Attr().NumPorts; port++ {
			if c, err := r.HWCounters(port); err == nil { // else the driver has none
				out = append(out, DeviceCounters{d.Name(), port, c})
			}
		}
	}
	slices.SortFunc(out, func(a, b DeviceCounters) int {
		if n := strings.Compare(a.Device, b.Device); n != 0 {
			return n
		}
		return a.Port - b.Port
	})
	return out
}

// DeviceCounters reads the hardware counters of the devices that the process has used. It
// reads files.
func (p *Process) DeviceCounters() []DeviceCounters {
	var devices []rdma.Device
	for _, e := range p.Engines() {
		for _, d := range e.stats.used() {
			if !slices.Contains(devices, d) {
				devices = append(devices, d)
			}
		}
	}
	return deviceCounters(devices)
}

// DeviceCounters reads the hardware counters of the devices that the connector has used. It
// reads files.
func (c *Connector) DeviceCounters() []DeviceCounters { return deviceCounters(c.d.stats.used()) }

// MetricsAddr is where the process serves its counters, nil if it does not.
func (p *Process) MetricsAddr() net.Addr { return p.metrics.Addr() }

// ---- Serving -------------------------------------------------------------------------------

// engineStats are the counters of one engine; of a Connector, "raw".
type engineStats struct {
	name string
	Stats
}

type metricsSource interface {
	engineStats() []engineStats
	DeviceCounters() []DeviceCounters
	Connections() []ConnectionStats
}

func (p *Process) engineStats() []engineStats {
	var out []engineStats
	for _, e := range p.Engines() {
		out = append(out, engineStats{fmt.Sprint(e.dp.Index()), e.Stats()})
	}
	return out
}

func (c *Connector) engineStats() []engineStats { return []engineStats{{"raw", c.Stats()}} }

// Connections is empty: what goes over raw connections is their owner's to count.
func (c *Connector) Connections() []ConnectionStats { return nil }

// complaints is where a program without a log is told that metrics cannot be served, and of each
// address once.
var (
	complaints io.Writer = os.Stderr
	complained sync.Map
)

// serveMetrics serves what src counts where cfg says; nil if nowhere, or if it cannot.
func serveMetrics(cfg Config, src metricsSource) *metrics.Server {
	if cfg.MetricsAddr == "" {
		return nil
	}
	s, err := metrics.Listen(cfg.MetricsAddr, func(path string) ([]metrics.Family, bool) {
		switch path {
		case "/", "/metrics":
			return metricFamilies(src), true
		case "/metrics/connections":
			return connectionFamilies(src.Connections()), true
		}
		return nil, false
	}, datapath.CloseInChild)
	if err == nil {
		return s
	}
	if cfg.Logger != nil && cfg.Logger.Enabled(context.Background(), slog.LevelError) {
		cfg.Logger.Error("no metrics: the address cannot be used", "addr", cfg.MetricsAddr, "err", err)
	} else if _, said := complained.LoadOrStore(cfg.MetricsAddr, true); !said {
		fmt.Fprintf(complaints, "catmint: no metrics at %s: %v; the program goes on without them\n", cfg.MetricsAddr, err)
	}
	return nil
}

// controlMetrics are the counters of the control plane, one family each.
var controlMetrics = []struct {
	name, help string
	typ        metrics.Type
	value      func(*Stats) uint64
}{
	{"connects_started_total", "Connects begun.", metrics.Counter, func(s *Stats) uint64 { return s.Started }},
	{"connects_established_total", "Connects that were established.", metrics.Counter, func(s *Stats) uint64 { return s.Connects }},
	{"connect_retries_total", "Steps of connects that were tried again.", metrics.Counter, func(s *Stats) uint64 { return s.Retries }},
	{"connect_probes_total", "Connects that asked which protocol a peer speaks, and were told.", metrics.Counter, func(s *Stats) uint64 { return s.Probes }},
	{"requests_total", "Connection requests that came in.", metrics.Counter, func(s *Stats) uint64 { return s.Requests }},
	{"accepts_total", "Connections accepted from peers and established.", metrics.Counter, func(s *Stats) uint64 { return s.Accepts }},
	{"accepts_lost_total", "Requests accepted whose connection was never established.", metrics.Counter, func(s *Stats) uint64 { return s.Lost }},
	{"request_probes_total", "Requests that asked which protocol is spoken here, and were told.", metrics.Counter, func(s *Stats) uint64 { return s.Probed }},
	{"unexpected_events_total", "Events that should not have come: a bug, here or in a driver.", metrics.Counter, func(s *Stats) uint64 { return s.Unexpected }},
	{"leaks_total", "RDMA objects that could not be destroyed: a bug, here or in a driver.", metrics.Counter, func(s *Stats) uint64 { return s.Leaks }},
	{"connections", "Connections now, those being set up or torn down included.", metrics.Gauge, func(s *Stats) uint64 { return s.Connections }},
}

// trafficMetrics are the counters of the data plane, for an engine and for a connection.
var trafficMetrics = []struct {
	name, help string
	typ        metrics.Type
	value      func(*datapath.ConnStats) uint64
}{
	{"pushes_total", "Messages pushed and sent.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.Pushes }},
	{"pops_total", "Messages popped, the ends of connections included.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.Pops }},
	{"sent_bytes_total", "Bytes of messages sent, without frame headers.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.BytesOut }},
	{"received_bytes_total", "Bytes of messages received, without frame headers.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.BytesIn }},
	{"messages_waiting", "Messages received that nobody has popped yet.", metrics.Gauge, func(s *datapath.ConnStats) uint64 { return s.Waiting }},
	{"send_credit", "Messages that peers have receives for now.", metrics.Gauge, func(s *datapath.ConnStats) uint64 { return s.Credit }},
	{"frames_sent_total", "Frames sent, control frames included.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.FramesOut }},
	{"frames_received_total", "Frames received, control frames included.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.FramesIn }},
	{"credit_frames_sent_total", "Bare CREDIT frames sent: credits that no other frame could carry.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.CreditsOut }},
	{"credit_frames_received_total", "Bare CREDIT frames received.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.CreditsIn }},
	{"inline_sends_total", "Messages sent inline, without DMA by the device.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.InlineSends }},
	{"post_sends_total", "Calls that posted sends: of ibv_post_send and ibv_wr_complete.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.PostSends }},
	{"wr_sends_total", "Messages posted by ibv_wr_complete, where the provider has it.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.WRSends }},
	{"post_recvs_total", "Calls of ibv_post_recv.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.PostRecvs }},
	{"large_messages_sent_total", "Messages above the eager limit that the peer was to read.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.LargeOut }},
	{"large_messages_received_total", "Messages above the eager limit that were read.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.LargeIn }},
	{"rdma_reads_total", "RDMA READs posted.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.Reads }},
	{"pings_sent_total", "PING frames sent: the peer was silent.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.PingsOut }},
	{"pings_received_total", "PING frames received.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.PingsIn }},
	{"receive_window", "Receives that peers may fill with messages now.", metrics.Gauge, func(s *datapath.ConnStats) uint64 { return s.Window }},
	{"window_grown_total", "How often a receive window has grown.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.WindowGrown }},
	{"window_no_budget_total", "How often a receive window could not grow because its completion queue was full.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.WindowNoBudget }},
	{"window_no_memory_total", "How often a receive window could not grow for want of memory.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.WindowNoMemory }},
	{"rnr_failures_total", "Connections that ended because the peer had no receive: a bug.", metrics.Counter, func(s *datapath.ConnStats) uint64 { return s.RNREvents }},
}

const prefix = "catmint_"

// metricFamilies are the metrics of a process. The labels' values are engines, errnos, reasons,
// devices and their counters, all of which are few.
func metricFamilies(src metricsSource) []metrics.Family {
	engines := src.engineStats()
	var out []metrics.Family
	for _, m := range controlMetrics {
		f := metrics.Family{Name: prefix + m.name, Help: m.help, Type: m.typ}
		for i := range engines {
			f.Add(m.value(&engines[i].Stats), "engine", engines[i].name)
		}
		out = append(out, f)
	}
	failures := metrics.Family{Name: prefix + "connects_failed_total", Help: "Connects that failed, by errno.", Type: metrics.Counter}
	refusals := metrics.Family{
		Name: prefix + "requests_refused_total", Help: "Connection requests refused, by the reason that the peer was told.", Type: metrics.Counter,
	}
	for _, e := range engines {
		for _, k := range sortedKeys(e.Failures) {
			failures.Add(e.Failures[k], "engine", e.name, "errno", connfsm.ErrnoName(k))
		}
		for _, k := range sortedKeys(e.Refusals) {
			refusals.Add(e.Refusals[k], "engine", e.name, "reason", k.String())
		}
	}
	out = append(out, failures, refusals)
	for _, m := range trafficMetrics {
		f := metrics.Family{Name: prefix + m.name, Help: m.help, Type: m.typ}
		for i := range engines {
			f.Add(m.value(&engines[i].Traffic), "engine", engines[i].name)
		}
		out = append(out, f)
	}
	return append(append(out, censusFamilies()...), deviceFamily(src.DeviceCounters()))
}

func censusFamilies() []metrics.Family {
	c := datapath.TakeCensus()
	var out []metrics.Family
	for _, g := range []struct {
		name, help string
		value      uint64
	}{
		{"tokens", "Queue tokens that nobody has redeemed yet.", c.Tokens},
		{"descriptors", "Queue descriptors open.", c.Descriptors},
		{"arena_bytes", "Bytes of the arenas that messages lie in.", c.ArenaBytes},
		{"arena_blocks", "Blocks of the arenas in use, posted receives included.", c.Blocks},
		{"memory_regions", "Memory regions registered.", c.Regions},
	} {
		f := metrics.Family{Name: prefix + g.name, Help: g.help, Type: metrics.Gauge}
		f.Add(g.value)
		out = append(out, f)
	}
	return out
}

func deviceFamily(counters []DeviceCounters) metrics.Family {
	f := metrics.Family{
		Name: prefix + "device_counters_total", Type: metrics.Counter,
		Help: "Hardware counters of the RDMA devices used, by the driver's names, such as retransmissions and RNR. " +
			"They count for all programs of the machine.",
	}
	for _, d := range counters {
		for _, name := range sortedKeys(d.Counters) {
			f.Add(d.Counters[name], "device", d.Device, "port", fmt.Sprint(d.Port), "counter", name)
		}
	}
	return f
}

// connectionFamilies are the metrics of single connections: asked for by path, because there
// is no limit to how many there are.
func connectionFamilies(conns []ConnectionStats) []metrics.Family {
	slices.SortFunc(conns, func(a, b ConnectionStats) int { return int(a.QD) - int(b.QD) })
	var out []metrics.Family
	for _, m := range trafficMetrics {
		f := metrics.Family{Name: prefix + "connection_" + m.name, Help: m.help, Type: m.typ}
		for i := range conns {
			c := &conns[i]
			f.Add(m.value(&c.Counts), "engine", fmt.Sprint(c.Engine), "qd", fmt.Sprint(c.QD),
				"local", c.Info.Local.String(), "remote", c.Info.Remote.String(), "device", c.Info.Device)
		}
		out = append(out, f)
	}
	return out
}

func sortedKeys[K interface {
	~uint32 | ~uintptr | ~string
}, V any](m map[K]V,
) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

//go:build rdma

package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/cmd/rping-demi/internal/doctor"
	"catmint/libos/metrics/metricstest"
	"catmint/rdma"
)

func bedAddr(t *testing.T) string {
	t.Helper()
	addr := os.Getenv("SOFT_ROCE_ADDR")
	require.NotEmpty(t, addr, "run by soft-roce test")
	return addr
}

// sh runs a shell command as a user would.
func sh(t *testing.T, command string) {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), "sh", "-c", command).CombinedOutput()
	require.NoError(t, err, "%s: %s", command, out)
}

// examine runs rping-demi as a user would: a process of its own, because librdmacm keeps a
// device open, and with it its removal waiting, until the process ends.
func examine(t *testing.T) doctor.Report {
	t.Helper()
	program := "../../build/rping-demi"
	require.FileExists(t, program, "run make build before")
	out, err := exec.CommandContext(context.Background(), program, "--doctor", "--json").Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	var r doctor.Report
	require.NoError(t, json.Unmarshal(out, &r), "%s", out)
	assert.Equal(t, r.Verdict == doctor.Failure, exit != nil)
	return r
}

// until examines again and again; each takes its time.
func until(t *testing.T, what string, seen func() bool) {
	t.Helper()
	for begin := time.Now(); !seen(); {
		require.Less(t, time.Since(begin), time.Minute, what)
	}
}

func problem(r doctor.Report, code doctor.Code, object string) (doctor.Finding, bool) {
	for _, f := range r.Findings {
		if f.Code == code && strings.Contains(f.Object, object) {
			return f, true
		}
	}
	return doctor.Finding{}, false
}

// TestTheDoctorFindsWhatIsWrongWithADevice makes a second device beside the bed's, and harms it.
func TestTheDoctorFindsWhatIsWrongWithADevice(t *testing.T) {
	addr := bedAddr(t)
	r := examine(t)
	require.NotEqual(t, doctor.Failure, r.Verdict, "%+v", r.Findings)
	assert.Contains(t, r.Addresses, doctor.Address{
		Addr: netip.MustParseAddr(addr), Netdev: os.Getenv("SOFT_ROCE_NETDEV"), Device: os.Getenv("SOFT_ROCE_DEVICE"),
	})

	sh(t, "ip link add sick0 type veth peer name sick1 && ip link set sick1 up && ip link set sick0 up && "+
		"ip address add 198.51.100.1/24 dev sick0")
	t.Cleanup(func() { sh(t, "ip link delete sick0") })
	f, found := problem(examine(t), doctor.NetdevNoLink, "sick0")
	require.True(t, found)
	_, command, ok := strings.Cut(f.Do, ": ")
	require.True(t, ok, f.Do)
	command, _, _ = strings.Cut(command, " (")
	sh(t, command) // it must do what it says
	device := strings.Fields(command)[3]

	healthy := func() bool {
		for _, a := range examine(t).Addresses {
			if a.Netdev == "sick0" && a.Device == device {
				return true
			}
		}
		return false
	}
	until(t, "the GID of an address follows it", healthy)

	sh(t, "ip link set sick0 down")
	var down doctor.Finding
	until(t, "the port goes down", func() bool {
		down, found = problem(examine(t), doctor.PortDown, device)
		return found
	})
	assert.Contains(t, down.Do, "ip link set sick0 up")
	assert.Equal(t, doctor.Warning, down.Status, "the other device works")
	sh(t, "ip link set sick0 up")
	until(t, "the port comes up", healthy)

	sh(t, "rdma link delete "+device)
	_, found = problem(examine(t), doctor.NetdevNoLink, "sick0")
	assert.True(t, found)
}

func TestMetricsOfARunHaveTheDevicesCounters(t *testing.T) {
	addr := bedAddr(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := free.Addr().String()
	require.NoError(t, free.Close())
	f := rdma.NewHardware()
	s := startServer(t, f, "-P", "-a", addr, "--metrics", at, "--stats")
	c := start(t, f, "-c", "-a", addr, "-C", "5", "--timeline", "--stats", "--protocol", "demi")
	c.exit(t, exitOK)
	s.out.await(t, "5 pings from", 1)

	families := metricstest.Get(t, "http://"+at+"/metrics")
	sum := func(name string, match func(*dto.Metric) bool) (n float64) {
		for _, m := range families[name].GetMetric() {
			if match(m) {
				n += m.GetCounter().GetValue()
			}
		}
		return n
	}
	all := func(*dto.Metric) bool { return true }
	assert.InDelta(t, 5, sum("catmint_pushes_total", all), 0)
	assert.InDelta(t, 1, sum("catmint_accepts_total", all), 0)
	assert.Positive(t, sum("catmint_device_counters_total", func(m *dto.Metric) bool {
		for _, l := range m.GetLabel() {
			if l.GetName() == "counter" && l.GetValue() == "sent_pkts" {
				return true
			}
		}
		return false
	}))
	s.stop()
	s.exit(t, exitOK)
	require.NoError(t, f.Close())
	for _, want := range []string{"first ping back", "statistics:", os.Getenv("SOFT_ROCE_DEVICE") + " port 1", "sent_pkts"} {
		assert.Contains(t, c.out.String(), want)
	}
}

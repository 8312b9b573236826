package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/cmd/rping-demi/internal/doctor"
	"catmint/libos"
)

func TestStatisticsFollowARunOfBothSides(t *testing.T) {
	for _, protocol := range []string{"demi", "auto", "rping"} {
		t.Run(protocol, func(t *testing.T) {
			sh, ch := newHosts(t)
			s := startServer(t, sh, "--stats", "--protocol", protocol)
			c := start(t, ch, "-c", "-a", serverAddr, "-C", "3", "--stats", "--protocol", protocol)
			c.exit(t, exitOK)
			s.exit(t, exitOK)
			client, server := c.out.String(), s.out.String()
			probes := map[string]int{"auto": 1}[protocol]
			assert.Contains(t, server, fmt.Sprintf("came in %d, established 1, lost 0, probes %d\n", 1+probes, probes))
			assert.Contains(t, client, fmt.Sprintf("begun %d, established 1, tried again 0, probes %d\n", 1+probes, probes))
			for _, out := range []string{client, server} {
				assert.Contains(t, out, "  connections     open 0\n")
			}
			assert.Contains(t, client, "unexpected events 0, leaks 0, RNR failures 0")
			assert.Greater(t, strings.Index(client, "statistics:"), strings.Index(client, "3 pings of"))
			if protocol == "demi" {
				assert.Contains(t, client, "pushed 3, popped 3, waiting 0")
				assert.Contains(t, client, "bytes           sent 192, received 192")
			}
		})
	}
}

func TestAServerPrintsStatisticsOnSIGUSR1(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-P", "--stats", "--protocol", "demi")
	start(t, ch, "-c", "-a", serverAddr, "-C", "3", "--protocol", "demi").exit(t, exitOK)
	s.out.await(t, "3 pings from", 1)
	require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGUSR1))
	s.out.await(t, "statistics:", 1)
	assert.Contains(t, s.out.String(), "pushed 3, popped 4", "the end of the connection is popped, too")
	s.stop()
	s.exit(t, exitOK)
	assert.Equal(t, 2, strings.Count(s.out.String(), "statistics:"), "and once more at the end")
}

func TestStatisticsOfAFailureNameItsErrno(t *testing.T) {
	_, ch := newHosts(t)
	c := start(t, ch, "-c", "-a", serverAddr, "--stats", "--json", "--protocol", "demi")
	c.exit(t, exitFailure)
	lines := strings.Split(strings.TrimSpace(c.out.String()), "\n")
	require.Len(t, lines, 2)
	var r map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &r))
	assert.Equal(t, "statistics", r["mode"])
	assert.InDelta(t, 1, r["connects"].(map[string]any)["failed_with_ECONNREFUSED"], 0)
}

func TestHardwareCountersAreThoseOfTheRun(t *testing.T) {
	before := map[port]map[string]uint64{{"rxe0", 1}: {"sent_pkts": 10, "rcvd_pkts": 5}}
	now := map[port]map[string]uint64{
		{"rxe1", 1}: {"sent_pkts": 1}, {"rxe0", 2}: {"sent_pkts": 0},
		{"rxe0", 1}: {"sent_pkts": 17, "rcvd_pkts": 5, "new": 2},
	}
	assert.Equal(t, []statistic{
		{"rxe0 port 1", []countOf{{"new", 2}, {"sent_pkts", 7}}},
		{"rxe1 port 1", []countOf{{"sent_pkts", 1}}},
	}, deviceStatistics(before, now))
}

func TestMetricsAreServedWhileAServerRuns(t *testing.T) {
	sh, ch := newHosts(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := free.Addr().String()
	require.NoError(t, free.Close())
	s := startServer(t, sh, "-P", "--metrics", at)
	start(t, ch, "-c", "-a", serverAddr, "-C", "3", "--protocol", "demi").exit(t, exitOK)
	s.out.await(t, "3 pings from", 1)
	resp, err := http.Get("http://" + at + "/metrics")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Contains(t, string(body), "catmint_pushes_total{engine=")
	s.stop()
	s.exit(t, exitOK)
	_, err = net.Dial("tcp", at)
	require.Error(t, err, "it ends with the server")
}

func TestTheDoctorsConnectionToItselfWorksOnAHealthyDevice(t *testing.T) {
	sh, _ := newHosts(t)
	tk := task{cfg: libos.DefaultConfig(), fabric: sh}
	for _, addr := range []string{serverAddr, serverAddr6} {
		took, err := tk.connectToSelf(t.Context(), netip.MustParseAddr(addr))
		require.NoError(t, err)
		assert.Positive(t, took)
	}
	_, err := tk.connectToSelf(t.Context(), netip.MustParseAddr("192.0.2.1"))
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tk.connectToSelf(over, netip.MustParseAddr(serverAddr))
	require.ErrorIs(t, err, context.Canceled)
}

func TestTheDoctorsVerdictIsTheExitStatus(t *testing.T) {
	for _, tc := range []struct {
		report doctor.Report
		want   int
	}{
		{doctor.Report{Verdict: doctor.OK}, exitOK},
		{doctor.Report{Verdict: doctor.Warning}, exitOK},
		{doctor.Report{Verdict: doctor.Failure}, exitFailure},
		{doctor.Report{Verdict: doctor.Failure, NoDevice: true}, exitNoDevice},
	} {
		for _, json := range []bool{false, true} {
			var out bytes.Buffer
			assert.Equal(t, tc.want, exitStatus(reportDoctor(tc.report, options{json: json}, &out)))
			assert.Equal(t, 1, strings.Count(out.String(), "\n"))
		}
	}
	assert.ErrorIs(t, reportDoctor(doctor.Report{}, options{json: true}, failingWriter{}), errFull)
}

var errFull = errors.New("no space")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }

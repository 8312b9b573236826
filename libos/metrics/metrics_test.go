package metrics

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/libos/metrics/metricstest"
)

func TestPrometheusReadsWhatIsWritten(t *testing.T) {
	odd := "a \"quoted\" \\ name\nwith a second line"
	c := Family{Name: "x_total", Help: "Counts \\ x,\nin two lines.", Type: Counter}
	c.Add(1, "engine", "0", "why", odd)
	c.Add(1<<53, "engine", "1", "why", "\xff")
	g := Family{Name: "y", Help: "How many y.", Type: Gauge}
	g.Add(7)
	got := metricstest.Parse(t, strings.NewReader(string(Text([]Family{c, {Name: "none", Type: Gauge}, g}))))
	require.Len(t, got, 2, "a family without samples is left out")

	x := got["x_total"]
	assert.Equal(t, dto.MetricType_COUNTER, x.GetType())
	assert.Equal(t, "Counts \\ x,\nin two lines.", x.GetHelp())
	require.Len(t, x.GetMetric(), 2)
	assert.Equal(t, "why", x.GetMetric()[0].GetLabel()[1].GetName())
	assert.Equal(t, odd, x.GetMetric()[0].GetLabel()[1].GetValue())
	assert.Equal(t, "?", x.GetMetric()[1].GetLabel()[1].GetValue())
	assert.InDelta(t, float64(1<<53), x.GetMetric()[1].GetCounter().GetValue(), 0)
	assert.Equal(t, dto.MetricType_GAUGE, got["y"].GetType())
	assert.InDelta(t, 7.0, got["y"].GetMetric()[0].GetGauge().GetValue(), 0)
}

func serveOne(t *testing.T, h Handler) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", h, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func numbers(path string) ([]Family, bool) {
	if path == "/panic" {
		panic("numbers are wrong")
	}
	f := Family{Name: "answer", Help: "To all.", Type: Gauge}
	f.Add(42)
	return []Family{f}, path == "/metrics"
}

func TestAnHTTPClientGetsMetrics(t *testing.T) {
	base := "http://" + serveOne(t, numbers).Addr().String()
	for range 3 * maxConns {
		resp, err := http.Get(base + "/metrics?x=1")
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, contentType, resp.Header.Get("Content-Type"))
		assert.NotNil(t, metricstest.Parse(t, resp.Body)["answer"])
		require.NoError(t, resp.Body.Close())
	}
	resp, err := http.Head(base + "/metrics")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Positive(t, resp.ContentLength)
	require.NoError(t, resp.Body.Close())
}

func TestWhatIsNoRequestForMetricsIsRefused(t *testing.T) {
	s := serveOne(t, numbers)
	for request, want := range map[string]string{
		"GET /else HTTP/1.1\r\nHost: x\r\n\r\n":                                       "404 Not Found",
		"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\nx":                                  "405 Method Not Allowed",
		"GET /metrics\r\n\r\n":                                                        "400 Bad Request",
		"GET metrics HTTP/1.1\r\n\r\n":                                                "400 Bad Request",
		" /metrics HTTP/1.1\r\n\r\n":                                                  "400 Bad Request",
		"GET /metrics HTTP/2.0\r\n\r\n":                                               "400 Bad Request",
		"GET /metrics HTTP/1.1\r\nno header\r\n\r\n":                                  "400 Bad Request",
		"\x16\x03\x01\x02\x00\r\n\r\n":                                                "400 Bad Request",
		"GET /metrics HTTP/1.1\r\nX: " + strings.Repeat("x", maxRequest) + "\r\n\r\n": "400 Bad Request",
	} {
		c, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		// The server may have answered, and closed, before the last byte of a long request.
		_, _ = io.WriteString(c, request)
		line, err := bufio.NewReader(c).ReadString('\n')
		if err == nil || !strings.Contains(request, "X: ") {
			assert.Contains(t, line, want, "%.40q", request)
		}
		require.NoError(t, c.Close())
	}
}

func TestAPanicEndsARequestAndNothingElse(t *testing.T) {
	base := "http://" + serveOne(t, numbers).Addr().String()
	resp, err := http.Get(base + "/panic")
	if err == nil {
		require.NoError(t, resp.Body.Close())
	}
	require.Error(t, err, "no answer")
	resp, err = http.Get(base + "/metrics")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
}

func TestClosingCutsASilentClient(t *testing.T) {
	s, err := Listen("127.0.0.1:0", numbers, nil)
	require.NoError(t, err)
	var conns []net.Conn
	for range maxConns + 2 { // the last ones are not accepted
		c, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		conns = append(conns, c)
	}
	begin := time.Now()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	assert.Less(t, time.Since(begin), timeLimit)
	for _, c := range conns {
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err)
		require.NoError(t, c.Close())
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	s := serveOne(t, numbers)
	_, err := Listen(s.Addr().String(), numbers, nil)
	require.ErrorContains(t, err, "address already in use")
}

func TestAChildIsToldOfTheDescriptorWhileItIsOpen(t *testing.T) {
	var story []string
	s, err := Listen("127.0.0.1:0", numbers, func(fd int) func() {
		assert.Positive(t, fd)
		story = append(story, "told")
		return func() { story = append(story, "forgotten") }
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"told"}, story)
	require.NoError(t, s.Close())
	assert.Equal(t, []string{"told", "forgotten"}, story)
}

func TestANilServerServesNothing(t *testing.T) {
	var s *Server
	assert.Nil(t, s.Addr())
	assert.NoError(t, s.Close())
}

func FuzzRequest(f *testing.F) {
	f.Add("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	f.Add("GET  HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		method, path, ok := readRequest(strings.NewReader(s))
		if ok {
			assert.True(t, strings.HasPrefix(s, fmt.Sprintf("%s %s HTTP/1.", method, path)) || strings.Contains(s, path))
		}
	})
}

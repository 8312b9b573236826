package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestHistogramBarsAreInProportion(t *testing.T) {
	var out bytes.Buffer
	us := time.Microsecond
	printHistogram(&out, []time.Duration{0, 1 * us, 1 * us, 5 * us})
	assert.Equal(t, `  <      1.0 us         1  #########################
  <      2.0 us         2  ##################################################
  <      4.0 us         0
  <      8.0 us         1  #########################
`, out.String())
	out.Reset()
	printHistogram(&out, []time.Duration{900 * us, 20_000 * us, 30_000 * us})
	assert.Contains(t, out.String(), "  <      1.0 ms         1  #####", "in the unit of the median")
	assert.Contains(t, out.String(), "  <     32.8 ms         2  #####")
	out.Reset()
	printHistogram(&out, nil)
	assert.Empty(t, out.String())
}

func TestARunningCountIsShownEverySecondAndTakenAway(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&terminal{&out, func() int { return 80 }}, "ping", 1000)
	m.add(3 * time.Microsecond)
	assert.Empty(t, out.String(), "a short run shows nothing")
	m.clear()
	assert.Empty(t, out.String())
	m.last = time.Now().Add(-2 * time.Second)
	m.begin = time.Now().Add(-8 * time.Second)
	m.add(5 * time.Microsecond)
	assert.Regexp(t, `^\r\x1b\[K8 s: 2 pings, (0\.9|1\.0)./s, 0\.00[01] MB/s, min 3\.0 us, max 5\.0 us$`, out.String())
	n := out.Len()
	m.add(time.Microsecond)
	assert.Equal(t, n, out.Len(), "not yet again")
	m.clear()
	assert.Equal(t, "\r\x1b[K", out.String()[n:])

	assert.Nil(t, newMeter(nil, "ping", 1), "no terminal, no count")
	assert.Nil(t, terminalOf(&out))
	newMeter(nil, "ping", 1).add(1)
	newMeter(nil, "ping", 1).clear()
}

func TestARunningCountKeepsToOneLine(t *testing.T) {
	fields := []string{"12 s: 345 pings", "28/s", "min 3.0 us"}
	for columns, want := range map[int]string{
		80: "12 s: 345 pings, 28/s, min 3.0 us", 34: "12 s: 345 pings, 28/s, min 3.0 us", 33: "12 s: 345 pings, 28/s",
		16: "12 s: 345 pings", 5: "12 s",
	} {
		assert.Equal(t, want, fitted(fields, columns), "%d columns", columns)
	}
}

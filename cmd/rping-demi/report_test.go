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
	printHistogram(&out, nil)
	assert.Empty(t, out.String())
}

func TestARunningCountIsShownEverySecondAndTakenAway(t *testing.T) {
	var out bytes.Buffer
	m := newMeter(&out)
	s := newSummary(64)
	s.add(3 * time.Microsecond)
	m.show(s)
	assert.Empty(t, out.String(), "a short run shows nothing")
	m.clear()
	assert.Empty(t, out.String())
	m.next = time.Now()
	m.show(s)
	assert.Contains(t, out.String(), "1 ping, the shortest 3.0 us, the longest 3.0 us")
	n := out.Len()
	m.show(s)
	assert.Equal(t, n, out.Len(), "not yet again")
	m.clear()
	assert.Equal(t, "\r\x1b[K", out.String()[n:])

	assert.Nil(t, newMeter(nil), "no terminal, no count")
	assert.Nil(t, terminalOf(&out))
	newMeter(nil).show(s)
	newMeter(nil).clear()
}

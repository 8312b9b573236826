package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"catmint/datapath"
	"catmint/libos"
)

// waitModes are the values of --wait.
var waitModes = map[string]datapath.WaitMode{
	"spin": datapath.WaitSpin, "adaptive": datapath.WaitAdaptive, "block": datapath.WaitBlock,
}

// checkModes checks what says how to measure.
func (o *options) checkModes() error {
	switch o.mode {
	case modeLatency, modeRate, modeBandwidth, modeConnect:
	default:
		return usagef("--mode %q is not latency, rate, bandwidth or connect", string(o.mode))
	}
	_, known := waitModes[o.wait]
	switch {
	case o.wait != "" && !known:
		return usagef("--wait %q is not spin, adaptive or block", o.wait)
	case o.duration < 0:
		return usagef("duration %v is negative", o.duration)
	case o.connections < 1 || o.connections > maxConnections:
		return usagef("connections %d is not in 1 to %d", o.connections, maxConnections)
	case o.server && (o.mode != modeLatency || len(o.sweep) > 0 || o.duration > 0 || o.connections > 1 || o.histogram):
		return usagef("--mode, --size-sweep, --duration, --connections and --histogram are for a client")
	case o.mode == modeConnect && o.timeline:
		return usagef("--timeline shows single connections; --mode connect makes one after the other")
	case o.metrics != "" && !libos.ValidMetricsAddr(o.metrics):
		return usagef("--metrics %q is not HOST:PORT, such as 127.0.0.1:9464", o.metrics)
	case o.mode == modeConnect && (o.connections > 1 || len(o.sweep) > 0):
		return usagef("--mode connect makes one connection after the other, and sends nothing on them")
	case o.protocol == protocolRping && (o.mode == modeRate || o.mode == modeBandwidth):
		return usagef("--mode %s has many pings in flight, and rping's protocol one", string(o.mode))
	}
	return nil
}

// parseSweep reads FIRST:LAST and returns the sizes: FIRST, twice that, and so on, and LAST.
func parseSweep(s string) ([]int, error) {
	a, b, ok := strings.Cut(s, ":")
	first, firstOK := parseSize(a)
	last, lastOK := parseSize(b)
	if !ok || !firstOK || !lastOK || first > last {
		return nil, usagef("--size-sweep %q is not FIRST:LAST in bytes, such as 64:64K, of 1 to %d", s, maxSize)
	}
	var sizes []int
	for n := first; n < last; n *= 2 {
		sizes = append(sizes, n)
	}
	return append(sizes, last), nil
}

// sizeValue is a number of bytes on the command line. It is a pflag.Value.
type sizeValue int

// String implements pflag.Value.
func (v *sizeValue) String() string { return strconv.Itoa(int(*v)) }

// Type implements pflag.Value.
func (v *sizeValue) Type() string { return "bytes" }

// Set implements pflag.Value.
func (v *sizeValue) Set(s string) error {
	n, ok := parseSize(s)
	if !ok {
		return fmt.Errorf("size %s is not one of 1 byte to 1G, such as 64, 4K or 1M", s)
	}
	*v = sizeValue(n)
	return nil
}

// parseSize reads a number of bytes, which may end in K, M or G (powers of 1024).
func parseSize(s string) (int, bool) {
	unit := 1
	for i, suffix := range []string{"K", "M", "G"} {
		if digits, ok := strings.CutSuffix(strings.ToUpper(s), suffix); ok {
			s, unit = digits, 1<<(10*(i+1))
			break
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxSize/unit {
		return 0, false
	}
	return n * unit, true
}

// checkDoctor checks what goes with --doctor: it neither serves nor connects.
func checkDoctor(fs *pflag.FlagSet) error {
	var err error
	fs.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "doctor", "json", "debug":
		default:
			err = usagef("--%s does not go with --doctor; only --json and --debug do", f.Name)
		}
	})
	return err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Sizes of pings between two of ours: the API's limits, and both sides of those where the way
// of a message changes.
var (
	ourSizes     = []int{1, 2, 64, 4096, 8176, 8177, 65536, 1 << 20}
	someOurSizes = []int{1, 8177, 1 << 20}
	largeSizes   = []int{16 << 20, 1 << 30}
)

// betweenOurs lists what needs rping-demi on both sides.
func betweenOurs(short bool) []scenario {
	sizes, many, ms := ourSizes, 2000, "3s"
	if short {
		sizes, many, ms = someOurSizes, 200, "500ms"
	}
	var all []scenario
	for family := range 2 {
		for _, size := range sizes {
			all = append(all, scenario{"rping-demi to rping-demi", family, size, 20, ours()})
		}
		all = append(all, scenario{"rping-demi --protocol rping to rping-demi", family, 65535, 20, ours("--protocol", "rping")})
	}
	for _, wait := range []string{"spin", "adaptive", "block"} {
		for _, protocol := range []string{"demi", "rping"} {
			all = append(all, scenario{"rping-demi --wait " + wait + " --protocol " + protocol, 0, 64, 100, ours("--wait", wait, "--protocol", protocol)})
		}
	}
	return append(all,
		scenario{"rping-demi --mode rate", 0, 64, many, ours("--mode", "rate")},
		scenario{"rping-demi --mode rate", 1, 64, many, ours("--mode", "rate")},
		scenario{"rping-demi --mode bandwidth", 0, 65536, 100, ours("--mode", "bandwidth")},
		scenario{"rping-demi --mode bandwidth", 1, 4096, 100, ours("--mode", "bandwidth")},
		scenario{"rping-demi --connections 16", 0, 64, 20, ourMany("demi")},
		scenario{"rping-demi --connections 16 --protocol rping", 0, 64, 20, ourMany("rping")},
		scenario{"rping-demi --mode connect --protocol demi", 0, 0, 20, ourConnects("demi")},
		scenario{"rping-demi --mode connect --protocol rping", 0, 0, 20, ourConnects("rping")},
		scenario{"rping-demi --size-sweep 64:1M", 0, 0, 3, ourSweep},
		scenario{"rping-demi --duration " + ms, 0, 64, 0, ourDuration("--duration", ms)},
		scenario{"rping-demi --duration " + ms + " --mode rate", 0, 64, 0, ourDuration("--duration", ms, "--mode", "rate")},
		scenario{"rping-demi --duration " + ms + " --mode connect", 0, 0, 0, ourDuration("--duration", ms, "--mode", "connect")},
	)
}

// large lists the largest messages, which take the longest.
func large() (all []scenario) {
	for family := range 2 {
		for _, size := range largeSizes {
			all = append(all, scenario{"rping-demi to rping-demi", family, size, 1, ours()})
		}
	}
	return all
}

// result is a line of --json.
type result struct {
	Mode     string  `json:"mode"`
	Protocol string  `json:"protocol"`
	Size     int     `json:"size"`
	Sent     int     `json:"sent"`
	Intact   int     `json:"intact"`
	Lost     int     `json:"lost"`
	Rate     float64 `json:"per_second"`
	Times    *struct {
		Min    float64 `json:"min"`
		Median float64 `json:"median"`
		P99    float64 `json:"p99"`
		P999   float64 `json:"p99_9"`
		Max    float64 `json:"max"`
	} `json:"microseconds"`
}

// check holds a result against itself and against how many pings there were to be.
func (r result) check(pings int) error {
	switch {
	case r.Sent != pings || r.Intact != pings || r.Lost != 0:
		return fmt.Errorf("%d sent, %d intact, %d lost; %d were to be", r.Sent, r.Intact, r.Lost, pings)
	case r.Times == nil || r.Rate <= 0:
		return errors.New("no times, or no rate")
	case r.Times.Min <= 0 || r.Times.Median < r.Times.Min || r.Times.P99 < r.Times.Median ||
		r.Times.P999 < r.Times.P99 || r.Times.Max < r.Times.P999:
		return fmt.Errorf("times out of order: %+v", *r.Times)
	}
	return nil
}

// results runs a client with --json against a server with -P, both to their good ends.
func (b *bed) results(ctx context.Context, s scenario, args ...string) ([]result, error) {
	server, port, err := b.demiServer(ctx, s, "-P")
	if err != nil {
		return nil, err
	}
	all := append([]string{"-c", "-a", b.addrs[s.family], "-p", port, "--json"}, args...)
	client, err := start(ctx, b.demi, all...)
	if err != nil {
		return nil, err
	}
	if err := client.expect(0); err != nil {
		return nil, fail(err, server)
	}
	server.signal(syscall.SIGINT)
	if err := server.expect(0); err != nil {
		return nil, fail(err, client)
	}
	var out []result
	for lines := json.NewDecoder(strings.NewReader(client.out.String())); lines.More(); {
		var r result
		if err := lines.Decode(&r); err != nil {
			return nil, fail(err, client)
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, fail(errors.New("no result"), client)
	}
	return out, nil
}

// ours is a run of a client of ours against a server of ours.
func ours(args ...string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		rs, err := b.results(ctx, s, append([]string{"-V", "-C", fmt.Sprint(s.pings), "-S", fmt.Sprint(s.size)}, args...)...)
		if err != nil {
			return err
		}
		return rs[0].check(s.pings)
	}
}

// ourMany is a client with many connections in one process.
func ourMany(protocol string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		const connections = 16
		rs, err := b.results(ctx, s, "-V", "-C", fmt.Sprint(s.pings), "--connections", fmt.Sprint(connections), "--protocol", protocol)
		if err != nil {
			return err
		}
		return rs[0].check(connections * s.pings)
	}
}

func ourConnects(protocol string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		rs, err := b.results(ctx, s, "--mode", "connect", "-C", fmt.Sprint(s.pings), "--protocol", protocol)
		if err != nil {
			return err
		}
		return rs[0].check(s.pings)
	}
}

func ourSweep(ctx context.Context, b *bed, s scenario) error {
	rs, err := b.results(ctx, s, "--size-sweep", "64:1M", "-V", "-C", fmt.Sprint(s.pings))
	if err != nil {
		return err
	}
	size := 64
	for _, r := range rs {
		if err := r.check(s.pings); err != nil || r.Size != size {
			return errors.Join(fmt.Errorf("a row of %d bytes where %d were to be", r.Size, size), err)
		}
		size *= 2
	}
	if size != 2<<20 {
		return fmt.Errorf("the last row has %d bytes", size/2)
	}
	return nil
}

func ourDuration(args ...string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		rs, err := b.results(ctx, s, args...)
		if err != nil {
			return err
		}
		if rs[0].Sent == 0 {
			return errors.New("nothing was sent")
		}
		return rs[0].check(rs[0].Sent)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// strangers lists peers that speak neither protocol: rdma-core's ucmatose, which says nothing
// in private data, as rping does, and rstream, which does.
func strangers() []scenario {
	return []scenario{
		{"rping-demi to ucmatose", 0, 64, 0, toStranger("ucmatose")},
		{"rping-demi --protocol demi to ucmatose", 0, 64, 0, toStranger("ucmatose", "--protocol", "demi")},
		{"ucmatose to rping-demi", 0, 64, 0, fromUcmatose},
		{"rping-demi to rstream", 0, 64, 0, toStranger("rstream")},
		{"rping-demi --protocol demi to rstream", 0, 64, 0, toStranger("rstream", "--protocol", "demi")},
		{"rstream to rping-demi", 0, 64, 0, fromRstream},
	}
}

// strangersPort is where both listen and connect; ucmatose takes no other.
const strangersPort = "7471"

// oneLine checks that a program of ours has failed, with one line that says what.
func oneLine(p *process, words ...string) error {
	if err := p.expectFailure(); err != nil {
		return err
	}
	text := p.errOut.String()
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "rping-demi: ") {
		return fail(errors.New("it does not say what is wrong in one line"), p)
	}
	for _, w := range words {
		if strings.Contains(text, w) {
			return nil
		}
	}
	return fail(fmt.Errorf("its line has none of %q", words), p)
}

func toStranger(program string, args ...string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		server, err := start(ctx, "stdbuf", "-oL", program, "-b", b.addrs[s.family])
		if err != nil {
			return err
		}
		defer server.signal(syscall.SIGKILL)
		// It does not say that it listens: try until it is no more a refusal.
		for {
			client, err := start(ctx, b.demi, append([]string{
				"-c", "-a", b.addrs[s.family], "-p", strangersPort, "-C", "3", "--timeout", "3s",
			}, args...)...)
			if err != nil {
				return err
			}
			if err := endsInTime(client); err != nil {
				return fail(err, server)
			}
			if client.has("invalid service ID") && ctx.Err() == nil {
				continue
			}
			server.signal(syscall.SIGKILL)
			<-server.done
			return oneLine(client, "protocol")
		}
	}
}

func fromUcmatose(ctx context.Context, b *bed, s scenario) error {
	server, err := start(ctx, b.demi, "-s", "-a", b.addrs[s.family], "-p", strangersPort, "--timeout", "3s")
	if err != nil {
		return err
	}
	if err := server.await(ctx, "listening on", 1); err != nil {
		return err
	}
	client, err := start(ctx, "ucmatose", "-s", b.addrs[s.family])
	if err != nil {
		return err
	}
	defer client.signal(syscall.SIGKILL)
	if err := endsInTime(server); err != nil {
		return fail(err, client)
	}
	return oneLine(server, "does it speak rping's protocol?")
}

// fromRstream: the request is refused, and the server goes on to serve others.
func fromRstream(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s)
	if err != nil {
		return err
	}
	stranger, err := start(ctx, "rstream", "-s", b.addrs[s.family], "-p", port)
	if err != nil {
		return err
	}
	if err := endsInTime(stranger); err != nil {
		return fail(err, server)
	}
	if stranger.code() == 0 {
		return fail(errors.New("it was not refused"), stranger, server)
	}
	s.pings = 3
	if err := b.stockPings(ctx, s, server, port); err != nil {
		return err
	}
	return server.expect(0)
}

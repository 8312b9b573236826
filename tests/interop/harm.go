package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// endsBy bounds how long a program may take to notice that its peer has gone.
const endsBy = 30 * time.Second

// endsInTime waits for the end, which must come soon.
func endsInTime(p *process) error {
	select {
	case <-p.done:
		return nil
	case <-time.After(endsBy):
		return fail(fmt.Errorf("it goes on %v after its peer has died", endsBy), p)
	}
}

// saysOfDeath tells whether a server says how it has seen that its client is gone. A process that is
// killed may lose its memory before its queue pair; then the device refuses to access that memory.
func saysOfDeath(server *process) bool {
	for _, s := range []string{"disconnected", "no answer", "REM_ACCESS_ERR", "REM_OP_ERR"} {
		if server.has(s) {
			return true
		}
	}
	return false
}

// says holds a program that must have failed against what it has said about it.
func says(p *process, said bool) error {
	if !said {
		return fail(errors.New("it does not say what happened"), p)
	}
	return p.expectFailure()
}

// pair is a server of ours with a client that pings it.
type pair struct {
	server, client *process
	port           string
}

// pinged starts a server with -v and a client, and waits until the server has printed seen.
func (b *bed) pinged(ctx context.Context, s scenario, seen, program string, clientArgs []string, args ...string) (*pair, error) {
	server, port, err := b.demiServer(ctx, s, append([]string{"-v"}, args...)...)
	if err != nil {
		return nil, err
	}
	client, err := b.client(ctx, program, s, port, clientArgs...)
	if err != nil {
		return nil, err
	}
	return &pair{server, client, port}, server.await(ctx, seen, 1)
}

// bereaved is a server of ours whose client has been killed in the midst of its pings, and that has ended.
func (b *bed) bereaved(ctx context.Context, s scenario, seen, program string, clientArgs []string, args ...string) (*process, error) {
	p, err := b.pinged(ctx, s, seen, program, clientArgs, args...)
	if err != nil {
		return nil, err
	}
	p.client.signal(syscall.SIGKILL)
	return p.server, endsInTime(p.server)
}

// answered starts a client of ours with -v, and waits until some of its pings have come back.
func (b *bed) answered(ctx context.Context, s scenario, server *process, port string, args ...string) (*process, error) {
	client, err := b.client(ctx, b.demi, s, port, append([]string{"-v"}, args...)...)
	if err != nil {
		return nil, err
	}
	if err := client.await(ctx, "ping data: rdma-ping-3:", 1); err != nil {
		return nil, fail(err, server)
	}
	return client, nil
}

// killedClient: the server ends, and with a failure unless the client happened to die
// between two pings, where rping's protocol has no other farewell.
func killedClient(ctx context.Context, b *bed, s scenario) error {
	server, err := b.bereaved(ctx, s, "server ping data: rdma-ping-3:", b.stock, nil)
	if err != nil {
		return err
	}
	if server.code() == 0 {
		if server.has("rping-demi:") {
			return fail(errors.New("it complains and exits with 0"), server)
		}
		return nil
	}
	return says(server, saysOfDeath(server))
}

// killedAmongMany: whoever comes after a client that was killed is served.
func killedAmongMany(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s, "-P", "-v")
	if err != nil {
		return err
	}
	for range 3 {
		client, err := b.client(ctx, b.stock, s, port)
		if err != nil {
			return err
		}
		seen := server.count("server ping data:")
		if err := server.await(ctx, "server ping data:", seen+3); err != nil {
			return err
		}
		client.signal(syscall.SIGKILL)
		<-client.done
	}
	s.pings = 3
	if err := b.stockPings(ctx, s, server, port); err != nil {
		return err
	}
	if err := server.await(ctx, " echoed", 4); err != nil {
		return err
	}
	server.signal(syscall.SIGINT)
	return server.expect(0)
}

func killedServer(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.stockServer(ctx, s, "-S", strconv.Itoa(s.size))
	if err != nil {
		return err
	}
	client, err := b.answered(ctx, s, server, port)
	if err != nil {
		return err
	}
	server.signal(syscall.SIGKILL)
	if err := endsInTime(client); err != nil {
		return err
	}
	// Its queue pair may be the first to say so, by an operation that the peer cannot complete any more.
	return says(client, client.has("disconnected") || client.has("or has died"))
}

func secondClient(ctx context.Context, b *bed, s scenario) error {
	p, err := b.pinged(ctx, s, "server ping data:", b.demi, []string{"--protocol", "rping"})
	if err != nil {
		return err
	}
	second, err := b.client(ctx, b.stock, s, p.port)
	if err != nil {
		return err
	}
	if err := endsInTime(second); err != nil {
		return fail(err, p.server)
	}
	if !second.has("REJECTED") {
		return fail(errors.New("it was not refused"), second, p.server)
	}
	p.client.signal(syscall.SIGINT)
	return errors.Join(second.expectFailure(), p.client.expect(0), p.server.expect(0))
}

// killedMidPing: rping exits with 0 when its peer dies in the middle of a ping, and ours must not.
// Nobody sees from outside where a client is; a large ping takes long enough that one of a few
// deaths comes in the middle.
func killedMidPing(ctx context.Context, b *bed, s scenario) error {
	const attempts = 20
	for range attempts {
		server, err := b.bereaved(ctx, s, "server ping data: rdma-ping-1:", b.stock, nil)
		if err != nil {
			return err
		}
		if server.code() != 0 {
			return says(server, saysOfDeath(server))
		} // else between two pings
	}
	return fmt.Errorf("of %d servers whose client was killed, none has failed", attempts)
}

// killedEarly: a server that knows how many pings to expect fails, wherever the client was.
func killedEarly(ctx context.Context, b *bed, s scenario) error {
	server, err := b.bereaved(ctx, s, "server ping data: rdma-ping-3:", b.stock, nil, "-C", "1000000")
	if err != nil {
		return err
	}
	return says(server, server.has("that -C says") || saysOfDeath(server))
}

// killedOurs: the Demikernel protocol has a farewell, so a client that was killed is never
// taken for one that has finished.
func killedOurs(protocol string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		server, err := b.bereaved(ctx, s, "server ping data: rdma-ping-3:", b.demi, []string{"--protocol", protocol})
		if err != nil {
			return err
		}
		return says(server, server.has("connection reset"))
	}
}

func killedOurServer(protocol string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		server, port, err := b.demiServer(ctx, s)
		if err != nil {
			return err
		}
		client, err := b.answered(ctx, s, server, port, "--protocol", protocol)
		if err != nil {
			return err
		}
		server.signal(syscall.SIGKILL)
		if err := endsInTime(client); err != nil {
			return err
		}
		return says(client, client.has("connection reset") && client.has("1 lost"))
	}
}

// killedUnderStock: what the stock client makes of it is its own affair; the next server on
// that port must work, so nothing of the dead one is left.
func killedUnderStock(ctx context.Context, b *bed, s scenario) error {
	p, err := b.pinged(ctx, s, "server ping data: rdma-ping-3:", b.stock, nil)
	if err != nil {
		return err
	}
	p.server.signal(syscall.SIGKILL)
	if err := endsInTime(p.client); err != nil {
		return err
	}
	next, err := start(ctx, b.demi, "-s", "-a", b.addrs[s.family], "-p", p.port)
	if err != nil {
		return err
	}
	if err := next.await(ctx, "listening on", 1); err != nil {
		return err
	}
	s.pings = 3
	if err := b.stockPings(ctx, s, next, p.port); err != nil {
		return err
	}
	return next.expect(0)
}

func interrupted(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.stockServer(ctx, s, "-S", strconv.Itoa(s.size))
	if err != nil {
		return err
	}
	client, err := b.answered(ctx, s, server, port)
	if err != nil {
		return err
	}
	client.signal(syscall.SIGINT)
	if err := client.expect(0); err != nil {
		return fail(err, server)
	}
	if !client.has(" 0 lost") {
		return fail(errors.New("it does not show the summary so far"), client)
	}
	<-server.done
	return nil
}

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

// killedClient: the server ends, and with a failure unless the client happened to die
// between two pings, where rping's protocol has no other farewell.
func killedClient(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s, "-v")
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.stock, s, port)
	if err != nil {
		return err
	}
	if err := server.await(ctx, "server ping data: rdma-ping-3:", 1); err != nil {
		return err
	}
	client.signal(syscall.SIGKILL)
	if err := endsInTime(server); err != nil {
		return err
	}
	if server.code() == 0 {
		if server.has("rping-demi:") {
			return fail(errors.New("it complains and exits with 0"), server)
		}
		return nil
	}
	if !saysOfDeath(server) {
		return fail(errors.New("it does not say what happened"), server)
	}
	return server.expectFailure()
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
	next, err := b.client(ctx, b.stock, s, port, "-v", "-V")
	if err != nil {
		return err
	}
	if err := checkStock(next, s); err != nil {
		return fail(err, server)
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
	client, err := b.client(ctx, b.demi, s, port, "-v")
	if err != nil {
		return err
	}
	if err := client.await(ctx, "ping data: rdma-ping-3:", 1); err != nil {
		return fail(err, server)
	}
	server.signal(syscall.SIGKILL)
	if err := endsInTime(client); err != nil {
		return err
	}
	if !client.has("disconnected") {
		return fail(errors.New("it does not say what happened"), client)
	}
	return client.expectFailure()
}

func secondClient(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s, "-v")
	if err != nil {
		return err
	}
	first, err := b.client(ctx, b.demi, s, port, "--protocol", "rping")
	if err != nil {
		return err
	}
	if err := server.await(ctx, "server ping data:", 1); err != nil {
		return err
	}
	second, err := b.client(ctx, b.stock, s, port)
	if err != nil {
		return err
	}
	if err := endsInTime(second); err != nil {
		return fail(err, server)
	}
	if !second.has("REJECTED") {
		return fail(errors.New("it was not refused"), second, server)
	}
	first.signal(syscall.SIGINT)
	return errors.Join(second.expectFailure(), first.expect(0), server.expect(0))
}

// killedMidPing: rping exits with 0 when its peer dies in the middle of a ping, and ours must not.
// Nobody sees from outside where a client is; a large ping takes long enough that one of a few
// deaths comes in the middle.
func killedMidPing(ctx context.Context, b *bed, s scenario) error {
	const attempts = 20
	for range attempts {
		server, port, err := b.demiServer(ctx, s, "-v")
		if err != nil {
			return err
		}
		client, err := b.client(ctx, b.stock, s, port)
		if err != nil {
			return err
		}
		if err := server.await(ctx, "server ping data: rdma-ping-1:", 1); err != nil {
			return err
		}
		client.signal(syscall.SIGKILL)
		if err := endsInTime(server); err != nil {
			return err
		}
		if server.code() == 0 {
			continue // between two pings
		}
		if !saysOfDeath(server) {
			return fail(errors.New("it does not say what happened"), server)
		}
		return server.expectFailure()
	}
	return fmt.Errorf("of %d servers whose client was killed, none has failed", attempts)
}

// killedEarly: a server that knows how many pings to expect fails, wherever the client was.
func killedEarly(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s, "-v", "-C", "1000000")
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.stock, s, port)
	if err != nil {
		return err
	}
	if err := server.await(ctx, "server ping data: rdma-ping-3:", 1); err != nil {
		return err
	}
	client.signal(syscall.SIGKILL)
	if err := endsInTime(server); err != nil {
		return err
	}
	if !server.has("that -C says") && !saysOfDeath(server) {
		return fail(errors.New("it does not say what happened"), server)
	}
	return server.expectFailure()
}

// killedOurs: the Demikernel protocol has a farewell, so a client that was killed is never
// taken for one that has finished.
func killedOurs(protocol string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		server, port, err := b.demiServer(ctx, s, "-v")
		if err != nil {
			return err
		}
		client, err := b.client(ctx, b.demi, s, port, "--protocol", protocol)
		if err != nil {
			return err
		}
		if err := server.await(ctx, "server ping data: rdma-ping-3:", 1); err != nil {
			return err
		}
		client.signal(syscall.SIGKILL)
		if err := endsInTime(server); err != nil {
			return err
		}
		if !server.has("connection reset") {
			return fail(errors.New("it does not say what happened"), server)
		}
		return server.expectFailure()
	}
}

func killedOurServer(protocol string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		server, port, err := b.demiServer(ctx, s)
		if err != nil {
			return err
		}
		client, err := b.client(ctx, b.demi, s, port, "-v", "--protocol", protocol)
		if err != nil {
			return err
		}
		if err := client.await(ctx, "ping data: rdma-ping-3:", 1); err != nil {
			return fail(err, server)
		}
		server.signal(syscall.SIGKILL)
		if err := endsInTime(client); err != nil {
			return err
		}
		if !client.has("connection reset") || !client.has("1 lost") {
			return fail(errors.New("it does not say what happened"), client)
		}
		return client.expectFailure()
	}
}

// killedUnderStock: what the stock client makes of it is its own affair; the next server on
// that port must work, so nothing of the dead one is left.
func killedUnderStock(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s, "-v")
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.stock, s, port)
	if err != nil {
		return err
	}
	if err := server.await(ctx, "server ping data: rdma-ping-3:", 1); err != nil {
		return err
	}
	server.signal(syscall.SIGKILL)
	if err := endsInTime(client); err != nil {
		return err
	}
	next, err := start(ctx, b.demi, "-s", "-a", b.addrs[s.family], "-p", port)
	if err != nil {
		return err
	}
	if err := next.await(ctx, "listening on", 1); err != nil {
		return err
	}
	s.pings = 3
	again, err := b.client(ctx, b.stock, s, port, "-v", "-V")
	if err != nil {
		return err
	}
	if err := checkStock(again, s); err != nil {
		return fail(err, next)
	}
	return next.expect(0)
}

func interrupted(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.stockServer(ctx, s, "-S", strconv.Itoa(s.size))
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.demi, s, port, "-v")
	if err != nil {
		return err
	}
	if err := client.await(ctx, "ping data: rdma-ping-3:", 1); err != nil {
		return fail(err, server)
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

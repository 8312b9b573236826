package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// Sizes that stock rping takes, its limits among them.
var (
	allSizes  = []int{23, 24, 64, 100, 1000, 4096, 4097, 8192, 16384, 65535}
	someSizes = []int{23, 64, 65535}
)

// scenarios lists everything, or with short less of it.
func scenarios(short bool) []scenario {
	sizes, pings, many, each := allSizes, 20, 1000, 20
	if short {
		sizes, pings, many, each = someSizes, 5, 100, 5
	}
	var all []scenario
	for family := range 2 {
		for _, size := range sizes {
			all = append(all,
				scenario{"rping-demi to rping", family, size, pings, toStock},
				scenario{"rping to rping-demi", family, size, pings, fromStock},
			)
		}
	}
	return append(all,
		scenario{"rping-demi to rping, a long run", 0, 64, many, toStock},
		scenario{"rping to rping-demi, a long run", 0, 64, many, fromStock},
		scenario{"rping-demi --protocol rping to itself", 0, 65535, pings, toItself("rping")},
		scenario{"rping-demi --protocol demi to itself", 0, 1, pings, toItself("demi")},
		scenario{"rping -q to rping-demi", 0, 64, pings, fromStockQ},
		scenario{"32 rping at once to rping-demi -P", 0, 64, each, crowd(0)},
		scenario{"32 rping and 8 rping-demi at once to rping-demi -P", 1, 1000, each, crowd(8)},
		scenario{"rping killed while it pings rping-demi", 0, 1000, 0, killedClient},
		scenario{"rping killed while it pings rping-demi -P", 0, 1000, 0, killedAmongMany},
		scenario{"rping -s killed while rping-demi pings it", 0, 1000, 0, killedServer},
		scenario{"a second rping is refused by rping-demi", 0, 64, 0, secondClient},
		scenario{"rping with more bytes than rping-demi was told", 0, 5000, pings, largerClient},
		scenario{"rping-demi with more bytes than rping was told", 0, 5000, pings, smallerServer},
		scenario{"rping-demi interrupted while it pings rping", 0, 64, 0, interrupted},
	)
}

func toStock(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.stockServer(ctx, s, "-S", strconv.Itoa(s.size), "-V")
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.demi, s, port, "-V")
	if err != nil {
		return err
	}
	if err := client.expect(0); err != nil {
		return fail(err, server)
	}
	if want := fmt.Sprintf("%d intact, 0 lost", s.pings); !client.has(want) {
		return fail(errors.New("its summary is not "+want), client)
	}
	return server.expect(0)
}

func fromStock(ctx context.Context, b *bed, s scenario) error {
	return fromStockWith(ctx, b, s)
}

func fromStockQ(ctx context.Context, b *bed, s scenario) error {
	return fromStockWith(ctx, b, s, "-q")
}

func fromStockWith(ctx context.Context, b *bed, s scenario, args ...string) error {
	server, port, err := b.demiServer(ctx, s)
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.stock, s, port, append(args, "-V", "-v")...)
	if err != nil {
		return err
	}
	if err := checkStock(client, s); err != nil {
		return fail(err, server)
	}
	if err := server.expect(0); err != nil {
		return err
	}
	if want := fmt.Sprintf("%d pings from", s.pings); !server.has(want) {
		return fail(errors.New("it has not said "+want), server)
	}
	return nil
}

// checkStock waits for a stock client with -v -V, all of whose pings must have come back.
func checkStock(client *process, s scenario) error {
	if err := client.expect(0); err != nil {
		return err
	}
	if client.has("mismatch") {
		return fail(errMismatch, client)
	}
	if n := client.count("ping data: rdma-ping-"); n != s.pings {
		return fail(fmt.Errorf("%d of %d pings came back", n, s.pings), client)
	}
	return nil
}

func toItself(protocol string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		server, port, err := b.demiServer(ctx, s)
		if err != nil {
			return err
		}
		client, err := b.client(ctx, b.demi, s, port, "-V", "--protocol", protocol)
		if err != nil {
			return err
		}
		if err := client.expect(0); err != nil {
			return fail(err, server)
		}
		return server.expect(0)
	}
}

// crowd runs 32 stock clients and some of ours against one persistent server.
func crowd(ours int) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		server, port, err := b.demiServer(ctx, s, "-P")
		if err != nil {
			return err
		}
		var stock, demi []*process
		for range 32 {
			p, err := b.client(ctx, b.stock, s, port, "-v", "-V")
			if err != nil {
				return err
			}
			stock = append(stock, p)
		}
		for range ours {
			p, err := b.client(ctx, b.demi, s, port, "-V", "--protocol", "demi")
			if err != nil {
				return err
			}
			demi = append(demi, p)
		}
		var errs []error
		for _, p := range stock {
			errs = append(errs, checkStock(p, s))
		}
		for _, p := range demi {
			errs = append(errs, p.expect(0))
		}
		if err := errors.Join(errs...); err != nil {
			return fail(err, server)
		}
		if err := server.await(ctx, fmt.Sprintf("%d pings from", s.pings), len(stock)+len(demi)); err != nil {
			return err
		}
		server.signal(syscall.SIGINT)
		return server.expect(0)
	}
}

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
	if !server.has("disconnected") && !server.has("no answer") {
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

// largerClient: our server takes the size from the advertisement.
func largerClient(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s, "-S", "64")
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.stock, s, port, "-v", "-V")
	if err != nil {
		return err
	}
	if err := checkStock(client, s); err != nil {
		return fail(err, server)
	}
	return server.expect(0)
}

// smallerServer: a stock server dies of it, and our client says why.
func smallerServer(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.stockServer(ctx, s, "-S", "64")
	if err != nil {
		return err
	}
	client, err := b.client(ctx, b.demi, s, port)
	if err != nil {
		return err
	}
	if err := endsInTime(client); err != nil {
		return fail(err, server)
	}
	server.signal(syscall.SIGKILL)
	if !client.has("smaller -S") {
		return fail(errors.New("it does not say what is wrong"), client, server)
	}
	return client.expectFailure()
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

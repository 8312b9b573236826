package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
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
	all = append(all, betweenOurs(short)...)
	all = append(all, strangers()...)
	all = append(all,
		scenario{"rping-demi to rping, a long run", 0, 64, many, toStock},
		scenario{"rping to rping-demi, a long run", 0, 64, many, fromStock},
		scenario{"rping -q to rping-demi", 0, 64, pings, fromStockQ},
		scenario{"rping to rping-demi on every address", 0, 64, pings, everyAddress("")},
		scenario{"rping to rping-demi on every address", 1, 64, pings, everyAddress("::")},
		scenario{"32 rping and 8 rping-demi at once to rping-demi -P", 1, 1000, each, crowd(8)},
		scenario{"rping killed while it pings rping-demi", 0, 1000, 0, killedClient},
		scenario{"rping killed in the middle of a ping of rping-demi", 0, 65535, 0, killedMidPing},
		scenario{"rping killed while it pings rping-demi -C", 0, 64, 0, killedEarly},
		scenario{"rping killed while it pings rping-demi -P", 0, 1000, 0, killedAmongMany},
		scenario{"rping -s killed while rping-demi pings it", 0, 1000, 0, killedServer},
		scenario{"rping-demi killed while it pings rping-demi", 0, 64, 0, killedOurs("demi")},
		scenario{"rping-demi -s killed while rping-demi pings it", 0, 64, 0, killedOurServer("demi")},
		scenario{"rping-demi -s killed while rping pings it", 0, 64, 0, killedUnderStock},
		scenario{"a second rping is refused by rping-demi", 0, 64, 0, secondClient},
		scenario{"rping with more bytes than rping-demi was told", 0, 5000, pings, largerClient},
		scenario{"rping-demi with more bytes than rping was told", 0, 5000, pings, smallerServer},
		scenario{"rping-demi interrupted while it pings rping", 0, 64, 0, interrupted},
	)
	if !short {
		all = append(all, scenario{"32 rping at once to rping-demi -P", 0, 64, each, crowd(0)})
		all = append(all, large()...)
	}
	return all
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
	if err := b.stockPings(ctx, s, server, port, args...); err != nil {
		return err
	}
	if err := server.expect(0); err != nil {
		return err
	}
	if want := fmt.Sprintf("%d pings from", s.pings); !server.has(want) {
		return fail(errors.New("it has not said "+want), server)
	}
	return nil
}

// everyAddress: a server without an address of its own says which its clients can use.
func everyAddress(addr string) func(context.Context, *bed, scenario) error {
	return func(ctx context.Context, b *bed, s scenario) error {
		port := b.nextPort()
		server, err := start(ctx, b.demi, "-s", "-p", port, "--address="+addr)
		if err != nil {
			return err
		}
		if err := server.await(ctx, "-a "+b.addrs[s.family]+" (", 1); err != nil {
			return err
		}
		if err := b.stockPings(ctx, s, server, port); err != nil {
			return err
		}
		return server.expect(0)
	}
}

// stockPings has a stock client ping a server.
func (b *bed) stockPings(ctx context.Context, s scenario, server *process, port string, args ...string) error {
	client, err := b.client(ctx, b.stock, s, port, append(args, "-v", "-V")...)
	if err != nil {
		return err
	}
	if err := checkStock(client, s); err != nil {
		return fail(err, server)
	}
	return nil
}

// checkStock waits for a stock client with -v -V, all of whose pings must have come back.
func checkStock(client *process, s scenario) error {
	if err := client.expect(0); err != nil && !lostItsChannel(client) {
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

// lostItsChannel says that a stock client ended with 255 after all was done: it destroys its event
// channel while another thread of its own may be reading it, which then ends the program (v44,
// seen on a busy machine).
func lostItsChannel(client *process) bool {
	return client.code() == 255 && client.has("client DISCONNECT EVENT") &&
		client.has("rdma_get_cm_event: Bad file descriptor")
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

// largerClient: our server takes the size from the advertisement.
func largerClient(ctx context.Context, b *bed, s scenario) error {
	server, port, err := b.demiServer(ctx, s, "-S", "64")
	if err != nil {
		return err
	}
	if err := b.stockPings(ctx, s, server, port); err != nil {
		return err
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

package libos_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"golang.org/x/sys/unix"

	"catmint/libos"
	"catmint/rdma/sim"
)

// A server and a client in one process, on a simulated network; on hardware the fabric is
// rdma.NewHardware().
func Example() {
	ctx := context.Background()
	network := sim.New(sim.Config{RealTime: true})
	host := network.AddHost("a", sim.DeviceConfig{Name: "sim0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	process, err := libos.New(libos.DefaultConfig(), host)
	check(err)
	engine, err := process.NewEngine()
	check(err)

	listener, err := engine.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	check(err)
	check(listener.Bind(netip.MustParseAddrPort("192.0.2.1:7174")))
	check(listener.Listen(16))
	accept, err := listener.Accept()
	check(err)

	client, err := engine.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	check(err)
	connect, err := client.Connect(netip.MustParseAddrPort("192.0.2.1:7174"))
	check(err)
	_, err = engine.Wait(ctx, connect)
	check(err)
	push, err := client.Push([]byte("hello"))
	check(err)
	_, err = engine.Wait(ctx, push)
	check(err)

	result, err := engine.Wait(ctx, accept)
	check(err)
	server, err := process.Socket(result.Accept().QD)
	check(err)
	pop, err := server.Pop()
	check(err)
	result, err = engine.Wait(ctx, pop)
	check(err)
	fmt.Printf("%s over %s\n", libos.TakeBytes(&result), server.Info().Device)

	check(process.Close())
	check(network.Close())
	// Output: hello over sim0
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

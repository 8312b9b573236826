// Hello connects to a server such as rping-demi -s, sends a message and prints the echo.
package main

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"syscall"

	"catmint/libos"
	"catmint/rdma"
)

func main() {
	ctx := context.Background()
	process, err := libos.New(libos.DefaultConfig(), rdma.NewHardware())
	must(err)
	engine, err := process.NewEngine()
	must(err)
	socket, err := engine.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	qt, err := socket.Connect(netip.MustParseAddrPort(os.Args[1] + ":7174"))
	must(err)
	_, err = engine.Wait(ctx, qt) // established
	must(err)
	qt, err = socket.Push([]byte("hello"))
	must(err)
	_, err = engine.Wait(ctx, qt)
	must(err)
	qt, err = socket.Pop()
	must(err)
	r, err := engine.Wait(ctx, qt)
	must(err)
	fmt.Printf("echoed: %s\n", libos.TakeBytes(&r))
	must(socket.Close())
	must(process.Close())
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

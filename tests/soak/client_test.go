package soak

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"catmint/rdma"
)

// clientVar names the server in the environment of this test binary as a client process.
const clientVar = "CATMINT_SOAK_CLIENT"

// clientReport is the last line of a client process.
const clientReport = "%d connects, the longest %d ns\n"

// clientProcess connects, pings and closes, over and over, until standard input ends. It
// prints a line after the first connection and one at the end.
func clientProcess(at string) int {
	connects, worst, err := clientRun(at)
	if err != nil {
		fmt.Println("client:", err)
		return 1
	}
	fmt.Printf(clientReport, connects, worst)
	return 0
}

func clientRun(at string) (connects int, worst time.Duration, err error) {
	server, err := netip.ParseAddrPort(at)
	if err != nil {
		return 0, 0, err
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	f := rdma.NewHardware()
	n, err := startParty(f)
	if err != nil {
		return 0, 0, err
	}
	for {
		start := time.Now()
		s, err := n.connect(server)
		if err != nil {
			return connects, worst, fmt.Errorf("connect %d: %w", connects, err)
		}
		worst = max(worst, time.Since(start))
		if err := n.ping(s, fmt.Sprint(os.Getpid(), connects)); err != nil {
			return connects, worst, fmt.Errorf("ping %d: %w", connects, err)
		}
		if err := s.Close(); err != nil {
			return connects, worst, err
		}
		if connects++; connects == 1 {
			fmt.Println("connected")
		}
		select {
		case <-stop:
			if err := n.p.Close(); err != nil {
				return connects, worst, err
			}
			return connects, worst, f.Close()
		default:
		}
	}
}

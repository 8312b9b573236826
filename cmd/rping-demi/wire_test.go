package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/cmd/rping-demi/internal/rping"
	"catmint/libos"
)

func TestBothProtocolsReachOneServer(t *testing.T) {
	for _, proto := range []string{"auto", "demi", "rping"} {
		t.Run(proto, func(t *testing.T) {
			sh, ch := newHosts(t)
			s := startServer(t, sh, "-v")
			c := start(t, ch, "-c", "-a", serverAddr, "-C", "3", "-v", "-V", "-S", "30", "--protocol", proto)
			c.exit(t, exitOK)
			s.exit(t, exitOK)
			assert.Contains(t, c.out.String(), "ping data: rdma-ping-2: CDEFGHIJKLMNOPQR\n")
			assert.Contains(t, c.out.String(), "3 pings of 30 bytes: 3 intact, 0 lost")
			assert.Contains(t, s.out.String(), "server ping data: rdma-ping-0: ABCDEFGHIJKLMNOP\n")
			assert.Contains(t, s.out.String(), "3 pings from")
			assert.Empty(t, c.err.String()+s.err.String())
		})
	}
}

func TestAnRpingServerTakesEverySizeOfRping(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-P", "--protocol", "rping")
	for i, size := range []int{23, 24, 64, 4095, 65535} {
		c := start(t, ch, "-c", "-a", serverAddr, "-C", "20", "-V", "-S", fmt.Sprint(size))
		c.exit(t, exitOK)
		s.out.await(t, "20 pings from", i+1)
	}
	s.stop()
	s.exit(t, exitOK)
	assert.Empty(t, s.err.String())
}

func TestAutoClientsFindAServerOfEitherProtocol(t *testing.T) {
	for _, proto := range []string{"demi", "rping"} {
		sh, ch := newHosts(t)
		s := startServer(t, sh, "--protocol", proto)
		c := start(t, ch, "-c", "-a", serverAddr, "-C", "2", "-V")
		c.exit(t, exitOK)
		s.exit(t, exitOK)
		assert.Empty(t, c.err.String()+s.err.String())
	}
}

func TestAServerOfTheOtherProtocolIsNamed(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "--protocol", "demi")
	c := start(t, ch, "-c", "-a", serverAddr, "-C", "1", "--protocol", "rping")
	c.exit(t, exitFailure)
	assert.Contains(t, c.err.String(), "use --protocol demi")
	s.stop()
	s.exit(t, exitOK)

	s = startServer(t, sh, "--protocol", "rping")
	c = start(t, ch, "-c", "-a", serverAddr, "-C", "1", "--protocol", "demi")
	c.exit(t, exitFailure)
	assert.Contains(t, c.err.String(), "--protocol rping")
	s.stop()
	s.exit(t, exitOK)
}

func TestASecondRpingClientOfASingleShotServerIsRefused(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh)
	first := start(t, ch, "-c", "-a", serverAddr, "-v", "--protocol", "rping")
	first.out.await(t, "ping data", 1)
	for _, proto := range []string{"rping", "demi", "auto"} {
		second := start(t, ch, "-c", "-a", serverAddr, "-C", "1", "--protocol", proto)
		second.exit(t, exitFailure)
		assert.Contains(t, second.err.String(), "refused")
	}
	first.stop()
	first.exit(t, exitOK)
	s.exit(t, exitOK)
}

func TestAPersistentServerServesManyClientsOfBothProtocols(t *testing.T) {
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-P")
	const n = 32
	var clients []*program
	for i := range n {
		clients = append(clients, start(t, ch, "-c", "-a", serverAddr, "-C", "20", "-V",
			"--protocol", []string{"rping", "demi"}[min(1, i%8/7)]))
	}
	for _, c := range clients {
		c.exit(t, exitOK)
	}
	s.out.await(t, "20 pings from", n)
	s.stop()
	s.exit(t, exitOK)
	assert.Empty(t, s.err.String())
}

func TestAServerIsStoppedInTheMiddleOfItsClients(t *testing.T) {
	for _, mode := range [][]string{nil, {"-P"}} {
		sh, ch := newHosts(t)
		s := startServer(t, sh, mode...)
		c := start(t, ch, "-c", "-a", serverAddr, "-v", "--protocol", "rping")
		c.out.await(t, "ping data", 3)
		s.stop()
		s.exit(t, exitOK)
		c.exit(t, exitFailure)
		assert.Contains(t, c.err.String(), "disconnected")
		assert.Contains(t, c.out.String(), "1 lost")
	}
}

func TestAServerThatKnowsTheCountMissesWhatIsMissing(t *testing.T) {
	for _, proto := range []string{"demi", "rping"} {
		sh, ch := newHosts(t)
		s := startServer(t, sh, "-C", "4")
		start(t, ch, "-c", "-a", serverAddr, "-C", "3", "--protocol", proto).exit(t, exitOK)
		s.exit(t, exitFailure)
		assert.Equal(t, "rping-demi: the client left after 3 of the 4 pings that -C says\n", s.err.String())

		for _, enough := range []string{"3", "2"} {
			s = startServer(t, sh, "-C", enough)
			start(t, ch, "-c", "-a", serverAddr, "-C", "3", "--protocol", proto).exit(t, exitOK)
			s.exit(t, exitOK)
			assert.Contains(t, s.out.String(), "3 pings from")
		}
	}
}

// A client that waits for the server to begin: alone it is given up, among many it is mentioned.
func TestAClientThatSaysNothingAtFirstIsNotWaitedFor(t *testing.T) {
	for _, mode := range []string{"", "-P"} {
		sh, ch := newHosts(t)
		s := startServer(t, sh, append([]string{"--timeout", "1ms"}, strings.Fields(mode)...)...)
		cfg, err := libos.ConfigFromEnv(func(string) string { return "" })
		require.NoError(t, err)
		connector, err := libos.NewConnector(cfg, ch)
		require.NoError(t, err)
		client := rping.NewClient(rping.Config{Fabric: ch, Timeout: time.Minute}, 64)
		at := netip.AddrPortFrom(netip.MustParseAddr(serverAddr), defaultPort)
		c, err := connector.Dial(t.Context(), netip.AddrPort{}, at, client.Hooks(nil))
		require.NoError(t, err)
		s.err.await(t, "has connected and sent nothing for 1ms: does it speak rping's protocol?\n", 1)
		if mode == "" {
			s.exit(t, exitFailure)
		}
		require.NoError(t, c.Close())
		<-c.Released()
		require.NoError(t, client.Close())
		require.NoError(t, connector.Close(t.Context()))
		if mode == "-P" {
			s.out.await(t, "0 pings from", 1)
			s.stop()
			s.exit(t, exitOK)
		}
	}
}

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal: what is written to tty is what somebody sees, in screen.
func openTerminal(t *testing.T, columns uint16) (tty *os.File, screen *output) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	raw, err := master.SyscallConn()
	require.NoError(t, err)
	var n int
	var ioctlErr error
	require.NoError(t, raw.Control(func(fd uintptr) {
		if ioctlErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); ioctlErr == nil {
			n, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, ioctlErr)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	screen = newOutput()
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil { // EIO: the last tty was closed
				return
			}
			_, _ = screen.Write(buf[:n])
		}
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		<-seen
		_ = master.Close()
	})
	return tty, screen
}

func TestAProgressLineIsOnATerminalOnlyAndCtrlCLeavesTheSummary(t *testing.T) {
	t.Setenv("TERM", "xterm")
	sh, ch := newHosts(t)
	s := startServer(t, sh, "-P")
	tty, screen := openTerminal(t, 60)
	piped := newOutput()

	stop, interrupt := context.WithCancel(t.Context())
	out, code := newOutput(), make(chan int, 1)
	go func() { code <- run(stop, []string{"-c", "-a", serverAddr}, nil, ch, out, tty) }()
	// A run beside it that is as long and writes into a pipe.
	stopPiped, endPiped := context.WithCancel(t.Context())
	codePiped := make(chan int, 1)
	go func() { codePiped <- run(stopPiped, []string{"-c", "-a", serverAddr}, nil, ch, newOutput(), piped) }()

	screen.await(t, "\r\x1b[K", 2) // two seconds
	interrupt()
	endPiped()
	assert.Equal(t, exitOK, <-code)
	assert.Equal(t, exitOK, <-codePiped)
	assert.Empty(t, piped.String(), "nobody watches a pipe")

	screen.await(t, "\r\x1b[K", 3) // and the line is taken away
	lines := strings.Split(screen.String(), "\r\x1b[K")
	assert.Regexp(t, `^1 s: \d+ pings, \d+/s, `, lines[1])
	for _, line := range lines {
		assert.Less(t, len(line), 60, "it does not wrap: %q", line)
	}
	assert.Empty(t, lines[len(lines)-1])
	assert.Regexp(t, `\n\d+ pings of 64 bytes: \d+ came back, 0 lost\nround trip: min .*\nrate: `, out.String())

	s.stop()
	s.exit(t, exitOK)
}

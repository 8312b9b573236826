package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"catmint/soft-roce/internal/wire"
	"catmint/soft-roce/testbed"
)

func shellMain(
	ctx context.Context, cancel context.CancelCauseFunc, args []string, std streams, signals <-chan os.Signal,
) (int, error) {
	var f bedFlags
	fs := pflag.NewFlagSet("shell", pflag.ContinueOnError)
	f.register(fs, 0)
	if err := parse(fs, args, std, "soft-roce shell [flags]"); err != nil {
		return 0, err
	}
	if err := f.check(fs); err != nil {
		return 0, err
	}
	terminal, ok := std.in.(*os.File)
	if !ok {
		return 0, usageError{errors.New("shell needs a terminal")}
	}
	size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, usageError{errors.New("shell needs a terminal; run takes commands from a script")}
	}
	defer limit(cancel, f.timeout, signals)()
	h, err := f.open(ctx, fs, std)
	if err != nil {
		return statusIfCut(ctx, err)
	}
	defer h.close()
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	c := testbed.Command{
		Args: []string{shell}, Env: f.env, Stdin: std.in, Stdout: std.out, Stderr: std.err,
		TTY: &wire.WindowSize{Rows: size.Row, Cols: size.Col},
	}
	if h.bed != nil {
		// Keys go through to the guest's terminal, which does the echo and makes the signals.
		restore, err := makeRaw(int(terminal.Fd()))
		if err != nil {
			return statusFailure, err
		}
		defer restore()
	}
	p, err := h.list[0].Start(c)
	if err != nil {
		return statusFailure, err
	}
	return await(ctx, h, p, std.err)
}

// makeRaw puts a terminal into the mode that cfmakeraw(3) describes.
func makeRaw(fd int) (restore func(), err error) {
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR |
		unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}

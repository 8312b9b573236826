package guard_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/cmd/libdemikernel/guard"
)

func TestAnErrorBecomesItsErrno(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want syscall.Errno
	}{
		{"success", nil, 0},
		{"an errno", syscall.ENOTCONN, syscall.ENOTCONN},
		{"a wrapped errno", fmt.Errorf("connect: %w", syscall.ECONNREFUSED), syscall.ECONNREFUSED},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			g := guard.Guard{Report: &log}
			require.Equal(t, int(c.want), g.Call("demi_x", func() error { return c.err }))
			require.Empty(t, log.String())
		})
	}
}

func TestAnErrorWithoutErrnoIsEIOAndReported(t *testing.T) {
	for _, err := range []error{errors.New("no idea"), fmt.Errorf("no idea: %w", syscall.Errno(0))} {
		var log bytes.Buffer
		g := guard.Guard{Report: &log}
		require.Equal(t, int(syscall.EIO), g.Call("demi_x", func() error { return err }))
		require.Contains(t, log.String(), "catmint: demi_x: no idea")
		require.False(t, g.Broken())
	}
}

func TestAPanicIsEIOAndEndsTheService(t *testing.T) {
	var log bytes.Buffer
	g := guard.Guard{Report: &log}
	require.Equal(t, int(syscall.EIO), g.Call("demi_bind", func() error { panic("out of tune") }))
	require.Equal(t, "catmint: demi_bind: internal error: out of tune;"+
		" the library refuses further calls\n", log.String(), "one line")
	require.True(t, g.Broken())

	called := false
	require.Equal(t, int(syscall.EIO), g.Call("demi_x", func() error { called = true; return nil }))
	require.False(t, called)
}

func TestARuntimeErrorIsCaughtToo(t *testing.T) {
	var log bytes.Buffer
	g := guard.Guard{Report: &log}
	g.Stack.Store(true)
	var p *struct{ v int }
	require.Equal(t, int(syscall.EIO), g.Call("demi_x", func() error { p.v = 1; return nil }))
	require.Contains(t, log.String(), "nil pointer")
	require.Contains(t, log.String(), "guard_test.go", "the stack, when asked for")
}

func TestThePanicOfAGoroutineEndsTheServiceOnce(t *testing.T) {
	var log bytes.Buffer
	ends := 0
	g := guard.Guard{Report: &log, Broke: func() { ends++ }}
	g.Panicked("event loop", errors.New("two\nlines"), nil)
	require.Equal(t, "catmint: event loop: internal error: two; lines; the library refuses further calls\n", log.String())
	require.True(t, g.Broken())
	require.Equal(t, 1, ends)
	g.Panicked("worker", "another", nil)
	require.Equal(t, 1, ends, "it has ended already")
	require.NotContains(t, log.String(), "another")
	require.Equal(t, int(syscall.EIO), g.Call("demi_x", func() error { panic("not called") }))
}

func TestNobodyListeningIsFine(t *testing.T) {
	var g guard.Guard
	require.Equal(t, int(syscall.EIO), g.Call("demi_x", func() error { panic("unheard") }))
}

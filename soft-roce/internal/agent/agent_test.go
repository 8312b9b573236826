package agent

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/soft-roce/internal/wire"
)

// limit is far more than anything here takes.
const limit = time.Minute

// client is the host's side of a connection to an agent.
type client struct {
	t      *testing.T
	conn   net.Conn
	out    *wire.Writer
	served chan error
}

func connect(t *testing.T, env ...string) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	c := &client{t: t, conn: ours, out: wire.NewWriter(ours), served: make(chan error, 1)}
	go func() { c.served <- New(theirs, wire.NewWriter(theirs), env, nil).Serve() }()
	require.NoError(t, ours.SetDeadline(time.Now().Add(limit)))
	t.Cleanup(func() { _ = ours.Close() })
	return c
}

func (c *client) exec(stream uint32, e wire.Exec) {
	c.t.Helper()
	if e.Dir == "" {
		e.Dir = "/"
	}
	require.NoError(c.t, c.out.SendJSON(wire.TypeExec, stream, e))
}

func (c *client) sh(stream uint32, script string) {
	c.t.Helper()
	c.exec(stream, wire.Exec{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}})
}

func (c *client) next() wire.Frame {
	c.t.Helper()
	f, err := wire.ReadFrame(c.conn)
	require.NoError(c.t, err)
	return f
}

// result collects the frames of one command up to its exit.
func (c *client) result(stream uint32) (stdout, stderr string, e wire.Exit) {
	c.t.Helper()
	for {
		f := c.next()
		require.Equal(c.t, stream, f.Stream)
		switch f.Type {
		case wire.TypeStdout:
			stdout += string(f.Payload)
		case wire.TypeStderr:
			stderr += string(f.Payload)
		case wire.TypeExit:
			require.NoError(c.t, f.Decode(&e))
			return stdout, stderr, e
		default:
			require.Failf(c.t, "unexpected frame", "type %d", f.Type)
		}
	}
}

func TestCommandsHaveTheirOutputAndStatusCarriedOut(t *testing.T) {
	c := connect(t)
	c.sh(1, "echo out; echo err >&2; exit 5")
	stdout, stderr, e := c.result(1)
	assert.Equal(t, "out\n", stdout)
	assert.Equal(t, "err\n", stderr)
	assert.Equal(t, wire.Exit{Code: 5}, e)
}

func TestACommandKilledByASignalIsToldFromOneThatExits(t *testing.T) {
	c := connect(t)
	c.sh(1, "kill -TERM $$")
	_, _, e := c.result(1)
	assert.Equal(t, wire.Exit{Signal: int(syscall.SIGTERM)}, e)
}

func TestCommandsSeeFolderAndEnvironment(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	c := connect(t, "SOFT_ROCE_HOST=a")
	c.exec(1, wire.Exec{
		Args: []string{"sh", "-c", "pwd; echo $PWD $SOFT_ROCE_HOST $MINE"},
		Dir:  dir,
		Env:  []string{"PATH=/usr/bin:/bin", "MINE=x", "SOFT_ROCE_HOST=other"},
	})
	stdout, _, e := c.result(1)
	assert.Equal(t, 0, e.Code)
	assert.Equal(t, dir+"\n"+dir+" a x\n", stdout)
}

func TestProgramsAreLookedUpAsByTheShell(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\necho found\n"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data"), []byte("x"), 0o644))
	for name, test := range map[string]struct {
		arg, path string
		status    int
	}{
		"by path":                    {filepath.Join(dir, "tool"), "", 0},
		"relative to the folder":     {"./tool", "", 0},
		"in PATH":                    {"tool", "/nonexistent:" + dir, 0},
		"in a relative PATH":         {"tool", ".", 0},
		"not in PATH":                {"tool", "/nonexistent", wire.StatusNotFound},
		"a path that does not exist": {"./other", "", wire.StatusNotFound},
		"not executable":             {"./data", "", wire.StatusCannotRun},
		"a folder":                   {dir, "", wire.StatusCannotRun},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t)
			c.exec(1, wire.Exec{Args: []string{test.arg}, Dir: dir, Env: []string{"PATH=" + test.path}})
			_, _, e := c.result(1)
			assert.Equal(t, test.status, e.Status(), e.Error)
		})
	}
}

func TestACommandThatCannotBeStartedSaysWhy(t *testing.T) {
	c := connect(t)
	c.exec(1, wire.Exec{})
	_, _, e := c.result(1)
	assert.Equal(t, "no command", e.Error)
	c.exec(2, wire.Exec{Args: []string{"/bin/true"}, Dir: "/nonexistent"})
	_, _, e = c.result(2)
	assert.Equal(t, wire.StatusNotFound, e.Status())
	assert.Contains(t, e.Error, "/nonexistent")
}

func TestInputIsPassedOn(t *testing.T) {
	c := connect(t)
	c.exec(1, wire.Exec{Args: []string{"/bin/cat"}, Stdin: true})
	go func() {
		_, _ = c.out.Stream(wire.TypeStdin, 1).Write([]byte("one\ntwo\n"))
		_ = c.out.Send(wire.TypeStdin, 1, nil)
	}()
	stdout, _, e := c.result(1)
	assert.Equal(t, "one\ntwo\n", stdout)
	assert.Equal(t, 0, e.Code)
}

func TestWithoutInputACommandReadsTheEnd(t *testing.T) {
	c := connect(t)
	c.exec(1, wire.Exec{Args: []string{"/bin/cat"}})
	stdout, _, e := c.result(1)
	assert.Empty(t, stdout)
	assert.Equal(t, 0, e.Code)
}

func TestInputThatNobodyReadsHoldsNothingUp(t *testing.T) {
	c := connect(t)
	c.exec(1, wire.Exec{Args: []string{"/bin/sleep", "1000"}, Stdin: true})
	chunk := bytes.Repeat([]byte{'x'}, wire.ChunkSize)
	for range 20 { // far more than a pipe holds
		require.NoError(t, c.out.Send(wire.TypeStdin, 1, chunk))
	}
	require.NoError(t, c.out.SendJSON(wire.TypeSignal, 1, wire.Signal{Number: int(syscall.SIGKILL)}))
	_, _, e := c.result(1)
	assert.Equal(t, int(syscall.SIGKILL), e.Signal)
}

func TestSignalsReachTheWholeGroup(t *testing.T) {
	c := connect(t)
	c.sh(1, "trap 'echo parent; exit 4' INT; sh -c 'trap \"echo child; exit\" INT; echo ready; while :; do sleep 0.01; done' & wait")
	f := c.next()
	require.Equal(t, "ready\n", string(f.Payload))
	require.NoError(t, c.out.SendJSON(wire.TypeSignal, 1, wire.Signal{Number: int(syscall.SIGTERM)}))
	_, _, e := c.result(1)
	assert.Equal(t, int(syscall.SIGTERM), e.Signal)
}

func TestSeveralCommandsRunAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	c := connect(t)
	// Each end of a fifo waits for the other: in turn neither would come to an end.
	c.exec(1, wire.Exec{Args: []string{"/bin/sh", "-c", "cat fifo"}, Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}})
	c.exec(2, wire.Exec{Args: []string{"/bin/sh", "-c", "echo hello > fifo"}, Dir: dir})
	exits, stdout := 0, ""
	for exits < 2 {
		switch f := c.next(); f.Type {
		case wire.TypeExit:
			exits++
		case wire.TypeStdout:
			stdout += string(f.Payload)
		default:
			require.Failf(t, "unexpected frame", "%+v", f)
		}
	}
	assert.Equal(t, "hello\n", stdout)
}

func TestAStreamNumberInUseIsRefused(t *testing.T) {
	c := connect(t)
	c.exec(1, wire.Exec{Args: []string{"/bin/sleep", "1000"}})
	c.exec(1, wire.Exec{Args: []string{"/bin/true"}})
	_, _, e := c.result(1)
	assert.Contains(t, e.Error, "in use")
}

func TestOutputHeldOpenByAnOrphanDoesNotDelayTheEnd(t *testing.T) {
	c := connect(t)
	c.sh(1, "sleep 1000 & echo $!")
	begin := time.Now()
	stdout, _, e := c.result(1)
	assert.Equal(t, 0, e.Code)
	assert.Less(t, time.Since(begin), limit/2)
	require.NoError(t, c.out.Send(wire.TypePowerOff, 0, nil))
	require.NoError(t, <-c.served)
	killOrphan(t, stdout)
}

func killOrphan(t *testing.T, pid string) {
	t.Helper()
	proc := 0
	for _, ch := range strings.TrimSpace(pid) {
		proc = proc*10 + int(ch-'0')
	}
	_ = unix.Kill(proc, unix.SIGKILL)
}

func TestTheEndOfTheConnectionEndsTheCommands(t *testing.T) {
	c := connect(t)
	c.sh(1, "echo $$; exec sleep 1000")
	f := c.next()
	require.NoError(t, c.conn.Close())
	require.Error(t, <-c.served)
	// Serve has waited for the command, so its number is free, or another's by now.
	comm, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(f.Payload)) + "/comm")
	assert.NotEqual(t, "sleep\n", string(comm))
}

func TestPowerOffIsTheOrderlyEnd(t *testing.T) {
	c := connect(t)
	require.NoError(t, c.out.Send(wire.TypePowerOff, 0, nil))
	require.NoError(t, <-c.served)
}

func TestNonsenseEndsTheConnection(t *testing.T) {
	for name, f := range map[string]wire.Frame{
		"a frame for the host":  {Type: wire.TypeStdout},
		"an unknown frame":      {Type: 99},
		"a damaged exec":        {Type: wire.TypeExec, Payload: []byte("{")},
		"a damaged signal":      {Type: wire.TypeSignal, Payload: []byte("{")},
		"a damaged window size": {Type: wire.TypeResize, Payload: []byte("{")},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t)
			require.NoError(t, c.out.Send(f.Type, 1, f.Payload))
			require.Error(t, <-c.served)
		})
	}
}

func TestSignalsAndInputForNobodyAreIgnored(t *testing.T) {
	c := connect(t)
	require.NoError(t, c.out.SendJSON(wire.TypeSignal, 9, wire.Signal{Number: 9}))
	require.NoError(t, c.out.Send(wire.TypeStdin, 9, []byte("x")))
	require.NoError(t, c.out.SendJSON(wire.TypeResize, 9, wire.WindowSize{}))
	c.sh(1, "exit 0")
	_, _, e := c.result(1)
	assert.Equal(t, 0, e.Code)
}

func TestACommandCanHaveATerminal(t *testing.T) {
	c := connect(t)
	c.exec(1, wire.Exec{
		Args: []string{"/bin/sh", "-c", "tty; stty size; read line; stty size; echo got $line"},
		Env:  []string{"PATH=/usr/bin:/bin"}, TTY: &wire.WindowSize{Rows: 33, Cols: 111}, Stdin: true,
	})
	var seen strings.Builder
	for !strings.Contains(seen.String(), "33 111") {
		f := c.next()
		require.Equal(t, wire.TypeStdout, f.Type)
		seen.Write(f.Payload)
	}
	require.Contains(t, seen.String(), "/dev/pts/")
	require.NoError(t, c.out.SendJSON(wire.TypeResize, 1, wire.WindowSize{Rows: 44, Cols: 55}))
	require.NoError(t, c.out.Send(wire.TypeStdin, 1, []byte("word\n")))
	stdout, _, e := c.result(1)
	assert.Contains(t, stdout, "44 55")
	assert.Contains(t, stdout, "got word")
	assert.Equal(t, 0, e.Code)
}

func TestTheReaperTakesOrphansOnly(t *testing.T) {
	if os.Getpid() == 1 {
		t.Fatal("this test makes itself the reaper; it cannot run as process 1")
	}
	// A subreaper inherits its descendants' orphans, as process 1 does.
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	ours, theirs := net.Pipe()
	defer ours.Close()
	require.NoError(t, ours.SetDeadline(time.Now().Add(limit)))
	reaper := NewReaper()
	t.Cleanup(reaper.Stop)
	served := make(chan error, 1)
	go func() { served <- New(theirs, wire.NewWriter(theirs), nil, reaper).Serve() }()
	c := &client{t: t, conn: ours, out: wire.NewWriter(ours), served: served}
	for i := range uint32(20) {
		c.sh(i+1, "(sleep 0.0$((RANDOM % 5 + 1)) &) >/dev/null 2>&1; exit 9")
		_, _, e := c.result(i + 1)
		require.Equal(t, wire.Exit{Code: 9}, e)
	}
	require.NoError(t, c.out.Send(wire.TypePowerOff, 0, nil))
	require.NoError(t, <-served)
	require.Eventually(t, func() bool {
		_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		return err == unix.ECHILD
	}, limit, 10*time.Millisecond, "all orphans are gone")
}

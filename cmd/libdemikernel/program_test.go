package main

import (
	"bytes"
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/libos"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
)

func TestMain(m *testing.M) { rdmatest.Main(m) }

const patience = 30 * time.Second

// newProgram is a program on a simulated device of address 10.0.0.1, and what it says.
func newProgram(t *testing.T) (*programState, *bytes.Buffer) {
	t.Helper()
	stderr := new(bytes.Buffer)
	host := sim.New(sim.Config{RealTime: true}).AddHost("program", sim.DeviceConfig{
		Name: "sim0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
	})
	p := &programState{
		stderr:  stderr,
		fabric:  func(func(string) string) (rdma.Fabric, error) { return host, nil },
		environ: func() []string { return nil },
	}
	t.Cleanup(func() {
		if p.process != nil {
			require.NoError(t, p.process.Close())
		}
	})
	return p, stderr
}

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// connected is a connection of the program with itself.
func connected(t *testing.T, e *libos.Engine) (client, server *libos.Socket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	listener, err := e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, listener.Bind(netip.MustParseAddrPort("10.0.0.1:0")))
	require.NoError(t, listener.Listen(1))
	at, err := listener.GetSockName()
	require.NoError(t, err)
	accepting, err := listener.Accept()
	require.NoError(t, err)
	client, err = e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	connecting, err := client.Connect(at)
	require.NoError(t, err)
	_, err = e.Wait(ctx, connecting)
	require.NoError(t, err)
	r, err := e.Wait(ctx, accepting)
	require.NoError(t, err)
	server, err = e.Process().Socket(r.Accept().QD)
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return client, server
}

func TestEveryThreadsEngineBelongsToOneProcess(t *testing.T) {
	p, stderr := newProgram(t)
	_, err := p.socket(500)
	require.ErrorIs(t, err, syscall.ENOSYS, "before demi_init")
	_, err = p.engine(nil)
	require.ErrorIs(t, err, syscall.ENOSYS)

	first, err := p.newEngine(environment(nil))
	require.NoError(t, err)
	second, err := p.newEngine(environment(nil))
	require.NoError(t, err)
	require.NotSame(t, first, second)
	require.Same(t, first.Process(), second.Process())
	for _, e := range []*libos.Engine{first, second} {
		found, err := p.engine(datapath.EngineFromHandle(e.Datapath().Handle()))
		require.NoError(t, err)
		require.Same(t, e, found)
	}
	_, err = p.engine(nil)
	require.ErrorIs(t, err, syscall.ENOSYS)
	_, err = p.socket(500)
	require.ErrorIs(t, err, syscall.EBADF)
	require.Empty(t, stderr.String())
}

func TestBadVariablesAreNamedAndTheNextTryMayBeGood(t *testing.T) {
	p, stderr := newProgram(t)
	_, err := p.newEngine(environment(map[string]string{"DEMI_WAIT": "soon", "DEMI_LINGER_MS": "-1"}))
	require.ErrorIs(t, err, syscall.EINVAL)
	require.Equal(t, `catmint: DEMI_LINGER_MS="-1": want milliseconds, 0 or more
catmint: DEMI_WAIT="soon": want adaptive, spin or block
`, stderr.String(), "one line each")
	_, err = p.newEngine(environment(nil))
	require.NoError(t, err)
}

func TestAMisspeltVariableIsToldOnceAndBreaksNothing(t *testing.T) {
	p, stderr := newProgram(t)
	p.environ = func() []string { return []string{"DEMI_RECV_SZIE=4096", "DEMI_RECV_SIZE=4096"} }
	for range 2 { // threads
		_, err := p.newEngine(environment(nil))
		require.NoError(t, err)
		require.Equal(t, `catmint: unknown variable "DEMI_RECV_SZIE" is ignored: did you mean DEMI_RECV_SIZE?
`, stderr.String())
	}
}

func TestAFabricThatFailsIsReported(t *testing.T) {
	p, stderr := newProgram(t)
	p.fabric = func(func(string) string) (rdma.Fabric, error) { return nil, syscall.ENODEV }
	_, err := p.newEngine(environment(nil))
	require.ErrorIs(t, err, syscall.ENODEV)
	require.Equal(t, "catmint: demi_init: no such device\n", stderr.String())
}

func TestAFabricThatFailsSaysWhatToDo(t *testing.T) {
	p, stderr := newProgram(t)
	failure := &rdma.OpError{Op: "create event channel", Err: syscall.EACCES}
	p.fabric = func(func(string) string) (rdma.Fabric, error) { return nil, failure }
	_, err := p.newEngine(environment(nil))
	require.ErrorIs(t, err, syscall.EACCES)
	require.Equal(t, "catmint: demi_init: rdma: create event channel: permission denied: "+rdma.Hint(failure)+"\n", stderr.String())
	require.Contains(t, stderr.String(), "read and write access")
}

func TestAPanicBesideInitIsSaidOnce(t *testing.T) {
	p, stderr := newProgram(t)
	p.fabric = func(func(string) string) (rdma.Fabric, error) {
		p.guard.Panicked("housekeeper", "ordered by a test", nil)
		return nil, syscall.EIO
	}
	_, err := p.newEngine(environment(nil))
	require.ErrorIs(t, err, syscall.EIO)
	require.Empty(t, stderr.String(), "the guard has said it")
}

func TestTheEndOfAProgramDeliversWhatWasPushed(t *testing.T) {
	p, _ := newProgram(t)
	p.deliver() // before demi_init there is nothing to do

	e, err := p.newEngine(environment(nil))
	require.NoError(t, err)
	client, server := connected(t, e)
	var pushed []datapath.Token
	for range 3 {
		qt, err := client.Push([]byte("last words"))
		require.NoError(t, err)
		pushed = append(pushed, qt)
	}
	p.deliver()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, qt := range pushed {
		_, err := e.Wait(ctx, qt)
		require.NoError(t, err, "the peer's libOS has it")
	}
	require.ErrorIs(t, client.Close(), syscall.EBADF, "closed already")
	require.ErrorIs(t, server.Close(), syscall.EBADF, "closed already")
}

func TestTheEndOfAProgramWaitsAsLongAsItsLongestLingerTime(t *testing.T) {
	p, _ := newProgram(t)
	e, err := p.newEngine(environment(map[string]string{"DEMI_LINGER_MS": "50"}))
	require.NoError(t, err)
	s, err := e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.Equal(t, 50*time.Millisecond, p.linger)
	p.noteLinger(s)
	require.Equal(t, 50*time.Millisecond, p.linger, "SO_LINGER is off")
	require.NoError(t, s.SetLinger(7*time.Second))
	p.noteLinger(s)
	require.Equal(t, 7*time.Second, p.linger)
	require.NoError(t, s.SetLinger(3*time.Second))
	p.noteLinger(s)
	require.Equal(t, 7*time.Second, p.linger)
	require.NoError(t, s.Close())
	p.noteLinger(s)
	require.Equal(t, 7*time.Second, p.linger, "a closed socket says nothing")
}

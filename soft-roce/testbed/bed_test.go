package testbed_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
	"catmint/soft-roce/internal/wire"
	"catmint/soft-roce/testbed"
)

// buffer can be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, behaviour string, cfg testbed.Config) (*testbed.Bed, error) {
	t.Helper()
	kernel := fake.Bed(t, behaviour)
	if cfg.Kernel == "" {
		cfg.Kernel = kernel
	}
	if cfg.Accel == "" {
		cfg.Accel = "tcg"
	}
	bed, err := testbed.Start(t.Context(), cfg)
	if err == nil {
		t.Cleanup(bed.Close)
	}
	return bed, err
}

func TestCommandsRunOnAHostAsOutside(t *testing.T) {
	bed, err := start(t, fake.Works, testbed.Config{})
	require.NoError(t, err)
	assert.Len(t, bed.Hosts(), 1)
	assert.Nil(t, bed.B())
	assert.Equal(t, "a", bed.A().Name)
	assert.Equal(t, "0.0-fake", bed.A().Kernel())
	assert.Equal(t, "10.77.0.1", bed.A().Env()["SOFT_ROCE_PEER"])
	assert.Empty(t, bed.A().Phases())

	t.Setenv("OUTSIDE", "seen")
	cwd, err := os.Getwd()
	require.NoError(t, err)
	var stdout, stderr bytes.Buffer
	status, err := bed.A().Run(t.Context(), testbed.Command{
		Args: []string{"sh", "-c", "pwd; echo $OUTSIDE $MINE $SOFT_ROCE_HOST; echo err >&2; cat; exit 3"},
		Env:  []string{"MINE=too"}, Stdin: strings.NewReader("input\n"), Stdout: &stdout, Stderr: &stderr,
	})
	require.NoError(t, err)
	assert.Equal(t, 3, status)
	assert.Equal(t, cwd+"\nseen too a\ninput\n", stdout.String())
	assert.Equal(t, "err\n", stderr.String())
}

func TestTwoHostsKnowEachOther(t *testing.T) {
	bed, err := start(t, fake.Works, testbed.Config{Hosts: 2})
	require.NoError(t, err)
	assert.Equal(t, bed.A().Env()["SOFT_ROCE_ADDR"], bed.B().Env()["SOFT_ROCE_PEER"])
	assert.Equal(t, bed.B().Env()["SOFT_ROCE_ADDR6"], bed.A().Env()["SOFT_ROCE_PEER6"])
}

func TestTheStatusOfACommandThatWasNotStartedSaysWhy(t *testing.T) {
	bed, err := start(t, fake.Works, testbed.Config{})
	require.NoError(t, err)
	p, err := bed.A().Start(testbed.Command{Args: []string{"/nonexistent"}})
	require.NoError(t, err)
	status, err := p.Wait()
	require.NoError(t, err)
	assert.Equal(t, wire.StatusNotFound, status)
	assert.Contains(t, p.Reason(), "/nonexistent")
}

func TestSignalsReachCommands(t *testing.T) {
	bed, err := start(t, fake.Works, testbed.Config{})
	require.NoError(t, err)
	p, err := bed.A().Start(testbed.Command{Args: []string{"sleep", "1000"}})
	require.NoError(t, err)
	require.NoError(t, p.Signal(syscall.SIGTERM))
	status, err := p.Wait()
	require.NoError(t, err)
	assert.Equal(t, 128+int(syscall.SIGTERM), status)
	require.NoError(t, p.Resize(wire.WindowSize{}), "too late is no error")
}

func TestRunEndsWithItsContext(t *testing.T) {
	bed, err := start(t, fake.Works, testbed.Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	_, err = bed.A().Run(ctx, testbed.Command{Args: []string{"sleep", "1000"}})
	require.ErrorIs(t, err, enough)
}

// startWaiting starts a command that runs until its host goes down: it reads what never comes.
func startWaiting(t *testing.T, h *testbed.Host) *testbed.Process {
	t.Helper()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	p, err := h.Start(testbed.Command{Args: []string{"cat"}, Stdin: r})
	require.NoError(t, err)
	return p
}

func TestFaultsFromOutside(t *testing.T) {
	var console buffer
	bed, err := start(t, fake.Works, testbed.Config{Hosts: 2, Console: &console})
	require.NoError(t, err)
	require.NoError(t, bed.A().SetLink(false))
	require.NoError(t, bed.B().Pause())
	require.NoError(t, bed.B().Resume())
	bed.A().DumpTasks()
	for _, text := range []string{"set_link map[name:net0 up:false]", "stop map[]", "cont map[]"} {
		require.Eventually(t, func() bool { return strings.Contains(console.String(), text) },
			time.Minute, time.Millisecond, text)
	}
	assert.Contains(t, bed.A().Console(), fake.Dump)

	p := startWaiting(t, bed.B())
	bed.B().PowerOff()
	<-bed.B().Down()
	_, err = p.Wait()
	require.ErrorIs(t, err, testbed.ErrHostDown)
	_, err = bed.B().Start(testbed.Command{Args: []string{"true"}})
	require.ErrorIs(t, err, testbed.ErrHostDown)
	require.Error(t, bed.B().Pause())
	bed.B().DumpTasks() // does nothing, and does not wait
	status, err := bed.A().Run(t.Context(), testbed.Command{Args: []string{"true"}})
	require.NoError(t, err)
	assert.Equal(t, 0, status, "the other host goes on")
}

func TestAGuestThatFindsSomethingWrongIsNotStartedAgain(t *testing.T) {
	_, err := start(t, fake.Fails, testbed.Config{})
	var boot *testbed.BootError
	require.ErrorAs(t, err, &boot)
	require.ErrorContains(t, err, "host a did not boot: load module rdma_rxe: fake")
	assert.Contains(t, boot.Console, fake.Console)
	assert.Equal(t, 1, fake.Machines(t))
}

func TestAGuestThatDiesWhileItBootsIsStartedAgain(t *testing.T) {
	var log buffer
	_, err := start(t, fake.CrashesOnce, testbed.Config{Log: &log})
	require.NoError(t, err)
	assert.Equal(t, 2, fake.Machines(t))
	assert.Contains(t, log.String(), "starting again")
}

func TestAGuestThatAlwaysDiesIsGivenUp(t *testing.T) {
	_, err := start(t, fake.Crashes, testbed.Config{})
	require.ErrorContains(t, err, "fake qemu: cannot do that")
	assert.Equal(t, 3, fake.Machines(t))
}

func TestAGuestThatSaysNothingIsGivenUpInTime(t *testing.T) {
	_, err := start(t, fake.Mute, testbed.Config{BootTimeout: 100 * time.Millisecond})
	require.ErrorContains(t, err, "not ready after 100ms")
}

func TestAGuestThatTalksRubbishIsGivenUp(t *testing.T) {
	_, err := start(t, fake.Chatty, testbed.Config{BootTimeout: 30 * time.Second})
	require.ErrorContains(t, err, "frame")
}

func TestKVMThatDoesNotBootIsTriedOnce(t *testing.T) {
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		// Nothing to fall back from: Auto is TCG here, and AccelMemory's own tests cover that.
		bed, err := start(t, fake.KVMCrashes, testbed.Config{Accel: "auto"})
		require.NoError(t, err)
		bed.Close()
		assert.Equal(t, 1, fake.Machines(t))
		return
	} else {
		_ = f.Close()
	}
	kernel := fake.Bed(t, fake.KVMCrashes)
	var log buffer
	for want := 2; want <= 3; want++ {
		bed, err := testbed.Start(t.Context(), testbed.Config{Kernel: kernel, Log: &log})
		require.NoError(t, err)
		bed.Close()
		assert.Equal(t, want, fake.Machines(t), "two machines the first time, one more the second")
	}
	assert.Equal(t, 1, strings.Count(log.String(), "KVM does not boot a guest"))
}

func TestCloseEndsEverythingAndMayBeRepeated(t *testing.T) {
	bed, err := start(t, fake.Works, testbed.Config{Hosts: 2})
	require.NoError(t, err)
	p := startWaiting(t, bed.A())
	bed.Close()
	bed.Close()
	_, err = p.Wait()
	if err != nil { // the agent may have had the time to say how the command ended
		require.ErrorIs(t, err, testbed.ErrHostDown)
	}
}

func TestAHostThatDoesNotPowerOffIsSwitchedOff(t *testing.T) {
	testbed.SetPowerOffGrace(t, 10*time.Millisecond)
	bed, err := start(t, fake.StaysOn, testbed.Config{})
	require.NoError(t, err)
	bed.Close()
	<-bed.A().Down()
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	fake.Write(t, file, "")
	for name, c := range map[string]struct {
		cfg  testbed.Config
		want string
	}{
		"three hosts":       {testbed.Config{Hosts: 3}, "1 or 2"},
		"no memory":         {testbed.Config{MemoryMiB: 10}, "memory"},
		"many CPUs":         {testbed.Config{CPUs: 1000}, "CPUs"},
		"small MTU":         {testbed.Config{MTU: 100}, "MTU"},
		"unknown kernel":    {testbed.Config{Kernel: "latest"}, "latest"},
		"no such kernel":    {testbed.Config{Kernel: "/nonexistent/kernel"}, "no kernel"},
		"unknown accel":     {testbed.Config{Accel: "xen"}, "xen"},
		"writable file":     {testbed.Config{Writable: []string{file}}, "not a folder"},
		"no such folder":    {testbed.Config{Writable: []string{"/nonexistent"}}, "writable"},
		"too many folders":  {testbed.Config{Writable: make([]string, 11)}, "10"},
		"no such module":    {testbed.Config{Modules: []string{"absent"}}, "absent"},
		"no such init":      {testbed.Config{Init: "/nonexistent/init"}, "init"},
		"no such QEMU":      {testbed.Config{QEMU: "/nonexistent/qemu"}, "qemu"},
		"cache in a file":   {testbed.Config{CacheDir: file + "/x"}, "not a directory"},
		"clocks apart":      {testbed.Config{Hosts: 2, ICount: true}, "one host"},
		"count with KVM":    {testbed.Config{Accel: "kvm", ICount: true}, "TCG"},
		"count of spinning": {testbed.Config{IdlePoll: true, ICount: true}, "spin"},
		"negative CPUs":     {testbed.Config{CPUs: -1}, "CPUs"},
		"negative hosts":    {testbed.Config{Hosts: -1}, "hosts"},
		"folder of nothing": {testbed.Config{Kernel: "./"}, "no kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := start(t, fake.Works, c.cfg)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestTheCacheFolderCanBeChosen(t *testing.T) {
	t.Setenv("SOFT_ROCE_CACHE", "/somewhere")
	dir, err := testbed.CacheDir()
	require.NoError(t, err)
	assert.Equal(t, "/somewhere", dir)
	t.Setenv("SOFT_ROCE_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/caches")
	dir, err = testbed.CacheDir()
	require.NoError(t, err)
	assert.Equal(t, "/caches/catmint", dir)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	_, err = testbed.CacheDir()
	require.ErrorContains(t, err, "SOFT_ROCE_CACHE")
}

func TestTheInitIsBuiltWhereNoneIsGiven(t *testing.T) {
	kernel := fake.Bed(t, fake.Works)
	t.Setenv("SOFT_ROCE_INIT", "")
	bed, err := testbed.Start(t.Context(), testbed.Config{Kernel: kernel, Accel: "tcg"})
	require.NoError(t, err)
	bed.Close()
	assert.FileExists(t, filepath.Join(os.Getenv("SOFT_ROCE_CACHE"), "bin/soft-roce-guest-init"))

	t.Chdir(t.TempDir()) // outside the module
	_, err = testbed.Start(t.Context(), testbed.Config{Kernel: kernel, Accel: "tcg"})
	require.ErrorContains(t, err, "SOFT_ROCE_INIT")
}

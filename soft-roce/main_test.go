package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
)

func TestMain(m *testing.M) {
	fake.Main()
	if os.Getenv("SOFT_ROCE_AS_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

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

// call is a call of soft-roce on the fake QEMU.
type call struct {
	out, err buffer
	in       string
	signals  chan os.Signal
}

func (c *call) run(args ...string) int {
	if c.signals == nil {
		c.signals = make(chan os.Signal, 1)
	}
	return Main(args, streams{strings.NewReader(c.in), &c.out, &c.err}, c.signals)
}

// onFake prepares the fake and returns the flags that choose it.
func onFake(t *testing.T, behaviour string) []string {
	t.Helper()
	return []string{"--kernel", fake.Bed(t, behaviour), "--accel", "tcg"}
}

func args(subcommand string, parts ...any) []string {
	list := []string{subcommand}
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			list = append(list, part)
		case []string:
			list = append(list, part...)
		}
	}
	return list
}

func TestRunPassesOutputAndStatusOn(t *testing.T) {
	var c call
	status := c.run(args("run", onFake(t, fake.Works), "--env", "MINE=x", "--",
		"sh", "-c", "echo $SOFT_ROCE_ADDR $MINE; echo err >&2; exit 42")...)
	assert.Equal(t, 42, status)
	assert.Equal(t, "10.77.0.1 x\n", c.out.String())
	assert.Equal(t, "err\n", c.err.String())
}

func TestRunNeedsNoDashesAndLeavesTheCommandItsFlags(t *testing.T) {
	var c call
	status := c.run(args("run", onFake(t, fake.Works), "echo", "-n", "--hosts", "2")...)
	assert.Equal(t, 0, status, c.err.String())
	assert.Equal(t, "--hosts 2", c.out.String())
}

func TestRunPassesInputOnIfAsked(t *testing.T) {
	c := call{in: "input"}
	assert.Equal(t, 0, c.run(args("run", onFake(t, fake.Works), "-i", "cat")...))
	assert.Equal(t, "input", c.out.String())
	c = call{in: "input"}
	assert.Equal(t, 0, c.run(args("run", onFake(t, fake.Works), "cat")...))
	assert.Empty(t, c.out.String())
}

func TestCommandsThatCannotBeRunHaveTheShellsStatus(t *testing.T) {
	var c call
	assert.Equal(t, 127, c.run(args("run", onFake(t, fake.Works), "no-such-program")...))
	assert.Contains(t, c.err.String(), "no-such-program")
	c = call{}
	assert.Equal(t, 126, c.run(args("run", onFake(t, fake.Works), t.TempDir())...))
	c = call{}
	assert.Equal(t, 128+9, c.run(args("run", onFake(t, fake.Works), "sh", "-c", "kill -9 $$")...))
}

func TestACommandThatHangsIsEndedWithItsConsoleShown(t *testing.T) {
	for name, behaviour := range map[string]string{
		"the command": fake.Works, "the guest": fake.Deaf, "the boot": fake.Mute,
	} {
		t.Run(name, func(t *testing.T) {
			var c call
			flags := onFake(t, behaviour)
			begin := time.Now()
			status := c.run(args("run", flags, "--timeout", "3s", "sleep", "1000")...)
			assert.Equal(t, 124, status)
			assert.Less(t, time.Since(begin), 30*time.Second)
			assert.Contains(t, c.err.String(), "time limit reached: 3s")
			assert.Contains(t, c.err.String(), fake.Console)
			if behaviour != fake.Mute {
				assert.Contains(t, c.err.String(), fake.Dump, "with what the kernel says of its tasks")
			}
		})
	}
}

func TestAGuestThatDiesIsToldFromACommandThatFails(t *testing.T) {
	var c call
	assert.Equal(t, 125, c.run(args("run", onFake(t, fake.DiesOnExec), "true")...))
	assert.Contains(t, c.err.String(), "Kernel panic - not syncing: fake")
	assert.Contains(t, c.err.String(), "host a: host is down")
	c = call{}
	assert.Equal(t, 125, c.run(args("run", onFake(t, fake.Fails), "true")...))
	assert.Contains(t, c.err.String(), "load module rdma_rxe: fake")
	assert.Contains(t, c.err.String(), fake.Console)
}

func TestInterruptionsReachTheCommand(t *testing.T) {
	c := call{signals: make(chan os.Signal, 1)}
	go func() {
		for !strings.Contains(c.out.String(), "started") {
			time.Sleep(time.Millisecond) //nolint:forbidigo // polls a buffer
		}
		c.signals <- syscall.SIGINT
	}()
	status := c.run(args("run", onFake(t, fake.Works), "sh", "-c",
		"trap 'echo interrupted; exit 3' INT; echo started; while :; do sleep 0.01; done")...)
	assert.Equal(t, 130, status)
	assert.Equal(t, "started\ninterrupted\n", c.out.String())
}

func TestAnInterruptionDuringTheBootEndsIt(t *testing.T) {
	c := call{signals: make(chan os.Signal, 1)}
	c.signals <- syscall.SIGTERM
	assert.Equal(t, 143, c.run(args("run", onFake(t, fake.Mute), "true")...))
	assert.NotContains(t, c.err.String(), "console", "nothing was wrong with it")
}

func TestMistakesOnTheCommandLineAreUsageErrors(t *testing.T) {
	for _, line := range []string{
		"", "walk", "run", "run --hosts 3 true", "run --hosts x true", "run --mode emulated true",
		"run --env =x true", "run --env x true", "run --timeout -1s true", "run --no-such-flag true",
		"run --on-a x true", "run --hosts 2 --on-a true", "run --hosts 2 --on-a x --on-b y true",
		"run --hosts 2 -i cat", "run --hosts 2 --ready ( true", "run --ready x true", "run --serve true",
		"run --mode native --hosts 2 true", "run --mode native --kernel 6.1 true",
		"run --mode native --idle-poll true", "run --mode native --icount true", "run --hosts 2",
		"test", "test --hosts 0 ./x", "test --count -1 ./x", "test --test-timeout -1s ./x", "fetch now", "fetch --x",
		"shell", "shell --hosts 9", "shell --x",
	} {
		t.Run(line, func(t *testing.T) {
			var c call
			assert.Equal(t, statusUsage, c.run(strings.Fields(line)...), c.err.String())
			assert.NotEmpty(t, c.err.String())
			assert.Empty(t, c.out.String())
		})
	}
}

func TestHelpIsForTheAsking(t *testing.T) {
	for _, line := range []string{"--help", "help", "-h", "run --help", "test -h", "shell --help", "fetch --help"} {
		t.Run(line, func(t *testing.T) {
			var c call
			assert.Equal(t, 0, c.run(strings.Fields(line)...))
			assert.Contains(t, c.out.String(), "Usage:")
			assert.Empty(t, c.err.String())
		})
	}
}

func TestVerboseTellsHowTheStartWent(t *testing.T) {
	var c call
	assert.Equal(t, 0, c.run(args("run", onFake(t, fake.Works), "--verbose", "true")...))
	assert.Contains(t, c.err.String(), "host a ready after")
	assert.Contains(t, c.err.String(), fake.Console)
}

func TestNativeModeSaysWhyNot(t *testing.T) {
	if _, err := os.Stat("/sys/module/rdma_rxe"); err == nil {
		// Where native mode works, soft-roce/selftest tests it.
		return
	}
	var c call
	assert.Equal(t, 125, c.run("run", "--mode", "native", "true"))
	assert.Contains(t, c.err.String(), "this machine cannot be a Soft-RoCE host")
}

func TestFetchPrintsTheKernel(t *testing.T) {
	fake.Bed(t, fake.Works)
	dir := os.Getenv("SOFT_ROCE_CACHE")
	root := filepath.Join(dir, "kernels/linux-image-x_1")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "kernels/by-name"), 0o755))
	require.NoError(t, os.Rename(fake.Kernel(t, nil), root))
	require.NoError(t, os.Symlink("../linux-image-x_1", filepath.Join(dir, "kernels/by-name/newest")))
	var c call
	assert.Equal(t, 0, c.run("fetch", "--if-missing"), c.err.String())
	assert.Equal(t, fake.Release+"\t"+root+"\n", c.out.String())

	fake.Programs(t, map[string]string{"apt-cache": "exit 100", "apt-get": "exit 100"})
	assert.Equal(t, 125, c.run("fetch"))
}

func TestNothingIsLeftWhenSoftRoCEIsKilled(t *testing.T) {
	flags := onFake(t, fake.Mute)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args("run", flags, "true")...)
	cmd.Env = append(os.Environ(), "SOFT_ROCE_AS_PROGRAM=1", "TMPDIR="+t.TempDir())
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return fake.Machines(t) == 1 }, time.Minute, time.Millisecond)
	machine := childOf(t, cmd.Process.Pid)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return !alive(machine) }, time.Minute, time.Millisecond,
		"the machine dies with it")
	left, err := os.ReadDir(cmd.Env[len(cmd.Env)-1][len("TMPDIR="):])
	require.NoError(t, err)
	assert.Empty(t, left, "no temporary files")
}

// childOf returns the number of a process's first child.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	require.NoError(t, err)
	for _, file := range threads {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			child, err := strconv.Atoi(fields[0])
			require.NoError(t, err)
			return child
		}
	}
	require.Fail(t, "no child")
	return 0
}

// alive tells whether a process runs; one that has ended and was not waited for does not.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

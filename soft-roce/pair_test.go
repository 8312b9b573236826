package main

import (
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"catmint/soft-roce/internal/fake"
)

func TestTwoHostsRunTheSameCommandUnlessToldOtherwise(t *testing.T) {
	var c call
	assert.Equal(t, 0, c.run(args("run", onFake(t, fake.Works), "--hosts", "2", "--",
		"sh", "-c", "echo $SOFT_ROCE_ADDR to $SOFT_ROCE_PEER")...), c.err.String())
	assert.Contains(t, c.out.String(), "a| 10.77.0.1 to 10.77.0.2\n")
	assert.Contains(t, c.out.String(), "b| 10.77.0.2 to 10.77.0.1\n")
}

func TestTheSecondHostStartsWhenTheFirstIsReady(t *testing.T) {
	var c call
	dir := t.TempDir()
	assert.Equal(t, 0, c.run(args("run", onFake(t, fake.Works), "--hosts", "2",
		"--on-a", "cd "+dir+"; echo waiting; touch started; echo listening on port 1; while ! [ -e done ]; do sleep 0.01; done",
		"--ready", "listening on port [0-9]",
		"--on-b", "cd "+dir+"; ls started; touch done")...), c.err.String())
	assert.Equal(t, "a| waiting\na| listening on port 1\nb| started\n", c.out.String())
}

func TestAServerIsStoppedWhenTheClientHasEnded(t *testing.T) {
	var c call
	assert.Equal(t, 0, c.run(args("run", onFake(t, fake.Works), "--hosts", "2", "--serve",
		"--on-a", "trap 'echo stopped; exit 9' TERM; echo up; while :; do sleep 0.01; done", "--ready", "up",
		"--on-b", "true")...), c.err.String())
	assert.Contains(t, c.out.String(), "a| stopped\n")
}

func TestTheFirstFailureDecidesAndEndsTheOtherHost(t *testing.T) {
	for name, commands := range map[string][2]string{
		"on the first host":  {"exit 7", "exec sleep 1000"},
		"on the second host": {"exec sleep 1000", "exit 7"},
	} {
		t.Run(name, func(t *testing.T) {
			var c call
			assert.Equal(t, 7, c.run(args("run", onFake(t, fake.Works), "--hosts", "2",
				"--on-a", commands[0], "--on-b", commands[1])...), c.err.String())
		})
	}
}

func TestAFailureAfterTheOtherHostsSuccessCounts(t *testing.T) {
	var c call
	assert.Equal(t, 5, c.run(args("run", onFake(t, fake.Works), "--hosts", "2",
		"--on-a", "true", "--on-b", "sleep 0.2; exit 5")...), c.err.String())
}

func TestAFirstHostThatIsNeverReadyIsAnError(t *testing.T) {
	var c call
	assert.Equal(t, 125, c.run(args("run", onFake(t, fake.Works), "--hosts", "2",
		"--on-a", "echo hello", "--ready", "listening", "--on-b", "true")...))
	assert.Contains(t, c.err.String(), `without a line that matches "listening"`)
	c = call{}
	assert.Equal(t, 6, c.run(args("run", onFake(t, fake.Works), "--hosts", "2",
		"--on-a", "exit 6", "--ready", "listening", "--on-b", "true")...))
}

func TestAFirstHostMayBeReadyAndDoneAtOnce(t *testing.T) {
	var c call
	assert.Equal(t, 0, c.run(args("run", onFake(t, fake.Works), "--hosts", "2",
		"--on-a", "echo listening >&2", "--ready", "listening", "--on-b", "echo ran")...), c.err.String())
	assert.Contains(t, c.out.String(), "b| ran")
}

func TestAPairThatHangsIsEnded(t *testing.T) {
	var c call
	assert.Equal(t, 124, c.run(args("run", onFake(t, fake.Works), "--hosts", "2", "--timeout", "3s",
		"--on-a", "exec sleep 1000", "--ready", "never", "--on-b", "true")...))
	c = call{}
	assert.Equal(t, 124, c.run(args("run", onFake(t, fake.Works), "--hosts", "2", "--timeout", "3s", "sleep", "1000")...))
	assert.Equal(t, 2, strings.Count(c.err.String(), "end of the console"), "each console once")
}

func TestLinesStayWhole(t *testing.T) {
	var b strings.Builder
	var mu sync.Mutex
	one := &lineWriter{mu: &mu, prefix: "1| ", w: &b}
	two := &lineWriter{mu: &mu, prefix: "2| ", w: &b}
	_, _ = io.WriteString(one, "be")
	_, _ = io.WriteString(two, "other\nre")
	_, _ = io.WriteString(one, "gin\nlast")
	one.flush()
	two.flush()
	assert.Equal(t, "2| other\n1| begin\n1| last\n2| re\n", b.String())
}

// stubborn is a process that only SIGKILL ends.
type stubborn struct {
	done chan struct{}
	got  []syscall.Signal
}

func (s *stubborn) Done() <-chan struct{} { return s.done }
func (s *stubborn) Wait() (int, error)    { return 0, nil }
func (s *stubborn) Reason() string        { return "" }

func (s *stubborn) Signal(sig syscall.Signal) error {
	s.got = append(s.got, sig)
	if sig == syscall.SIGKILL {
		close(s.done)
	}
	return nil
}

func TestAServerThatDoesNotStopIsKilled(t *testing.T) {
	old := stopGrace
	stopGrace = 0
	defer func() { stopGrace = old }()
	p := &stubborn{done: make(chan struct{})}
	stop(p)
	assert.Equal(t, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}, p.got)
}

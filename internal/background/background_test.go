package background_test

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/internal/background"
)

type caught struct {
	name  string
	value any
	stack string
}

func TestAHandlerTakesThePanicsOfGoroutinesAndTimers(t *testing.T) {
	seen := make(chan caught, 4)
	background.OnPanic(func(name string, value any, stack []byte) {
		seen <- caught{name, value, string(stack)}
	})
	defer background.OnPanic(nil)
	var wg sync.WaitGroup
	for name, start := range map[string]func(f func()){
		"a goroutine": func(f func()) { background.Go("a goroutine", f) },
		"one counted": func(f func()) { background.Join(&wg, "one counted", f) },
		"a timer":     func(f func()) { background.After(time.Microsecond, "a timer", f) },
		"a context": func(f func()) {
			ctx, cancel := context.WithCancel(context.Background())
			background.WhenDone(ctx, "a context", f)
			cancel()
		},
	} {
		cleaned := make(chan struct{})
		start(func() {
			defer close(cleaned)
			panic("in " + name)
		})
		<-cleaned
		c := <-seen
		require.Equal(t, name, c.name)
		require.Equal(t, "in "+name, c.value)
		require.Contains(t, c.stack, "background_test.go", "where it happened")
	}
	wg.Wait()
}

func TestWithoutAPanicNobodyIsTold(t *testing.T) {
	background.OnPanic(func(string, any, []byte) { t.Error("told") })
	defer background.OnPanic(nil)
	var wg sync.WaitGroup
	ran := 0
	background.Join(&wg, "quiet", func() { ran++ })
	wg.Wait()
	require.Equal(t, 1, ran)
}

func TestWithoutAHandlerAPanicEndsTheProgram(t *testing.T) {
	if os.Getenv("BACKGROUND_PANIC") != "" {
		background.Go("unguarded", func() { panic("as any Go program") })
		select {}
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run", "^TestWithoutAHandlerAPanicEndsTheProgram$")
	cmd.Env = append(os.Environ(), "BACKGROUND_PANIC=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "panic: as any Go program")
}

// Who waits for a goroutine must not go on, perhaps to the end of the program, before its panic has
// been told of.
func TestAGoroutineEndsOnceItsPanicHasBeenToldOf(t *testing.T) {
	its := make(chan (<-chan struct{}), 1)
	var told atomic.Bool
	background.OnPanic(func(string, any, []byte) {
		select {
		case <-<-its:
			t.Error("it has ended already")
		default:
		}
		told.Store(true)
	})
	defer background.OnPanic(nil)
	done := background.Go("a goroutine", func() { panic("now") })
	its <- done
	<-done
	require.True(t, told.Load())
}

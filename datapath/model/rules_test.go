package model_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath/internal/cwire"
	. "catmint/datapath/model" //nolint:revive // the configurations below read better without a prefix
)

// Every configuration is explored to its end: each interleaving of what its comment says, for
// each data window in windows, with the engine's own constants.
type proof struct {
	name    string
	c       Config
	windows []int // explored always
	long    []int // explored as well when CATMINT_LONG is set
}

var (
	both         = [2]bool{true, true}
	closing      = [2]CloseKind{ClosesAnyhow, ClosesAnyhow}
	allLarge     = [2]Sizes{Large, Large}
	allMixed     = [2]Sizes{Mixed, Mixed}
	growing      = [2]int{1, 1}
	byMessage    = [2]Doubling{DoublesByMessage, DoublesByMessage}
	secondAnyhow = [2]Doubling{NeverDoubles, DoublesAnyhow}
	eachOne      = [2]int{1, 1}
	eachTwo      = [2]int{2, 2}
	firstOnly    = [2]int{2, 0}
)

var proofs = []proof{
	{
		name:    "one-way traffic never stalls and costs one CREDIT for half a window",
		c:       Config{Pushes: firstOnly},
		windows: []int{1, 2, 3, 4},
	},
	{
		name:    "ping-pong needs no CREDIT",
		c:       Config{Pushes: eachOne, Mode: PingPong},
		windows: []int{1, 2, 3, 4},
	},
	{
		name:    "traffic both ways never stalls",
		c:       Config{Pushes: eachOne},
		windows: []int{1, 2, 3},
		long:    []int{4},
	},
	{
		name:    "traffic both ways never stalls with more pushes waiting",
		c:       Config{Pushes: eachTwo},
		windows: []int{1, 2},
		long:    []int{3, 4},
	},
	{
		name:    "one side pushes, both close in any way at any time",
		c:       Config{Pushes: [2]int{1, 0}, Closes: closing},
		windows: []int{1, 2, 3},
		long:    []int{4},
	},
	{
		name:    "both push, both close in any way at any time",
		c:       Config{Pushes: eachOne, Closes: closing},
		windows: []int{1},
		long:    []int{2, 3, 4},
	},
	{
		name:    "both push and close, engines prompt",
		c:       Config{Pushes: eachTwo, Closes: closing, Prompt: true},
		windows: []int{1},
		long:    []int{2, 3, 4},
	},
	{
		name:    "the linger time may be over before the close is done",
		c:       Config{Pushes: eachOne, Closes: closing, Cuts: true, Prompt: true},
		windows: []int{1},
		long:    []int{2, 3, 4},
	},
	{
		name:    "keepalive beside traffic both ways",
		c:       Config{Pushes: eachOne, Pings: both},
		windows: []int{1},
		long:    []int{2, 3},
	},
	{
		name:    "keepalive beside traffic both ways, engines prompt",
		c:       Config{Pushes: eachOne, Pings: both, Prompt: true},
		windows: []int{1},
		long:    []int{2, 3},
	},
	{
		name: "keepalive, traffic both ways and close, engines prompt",
		c:    Config{Pushes: eachOne, Pings: both, Closes: closing, Prompt: true},
		long: []int{1},
	},
	{
		name: "keepalive, one-way traffic and close, engines prompt",
		c:    Config{Pushes: firstOnly, Pings: both, Closes: [2]CloseKind{ClosesFull, ClosesFull}, Prompt: true},
		long: []int{1, 2, 3},
	},
	{
		name:    "large messages one way, both close",
		c:       Config{Pushes: [2]int{1, 0}, Sizes: allMixed, Closes: closing},
		windows: []int{1},
		long:    []int{2, 3},
	},
	{
		name:    "large messages one way, read ahead of pops, both close",
		c:       Config{Pushes: [2]int{1, 0}, Sizes: allMixed, Closes: closing, Prefetch: true},
		windows: []int{1},
		long:    []int{2, 3},
	},
	{
		name:    "large messages both ways at once, read ahead of pops",
		c:       Config{Pushes: eachOne, Sizes: allLarge, Prefetch: true},
		windows: []int{1},
		long:    []int{2},
	},
	{
		name:    "large messages both ways at once",
		c:       Config{Pushes: eachOne, Sizes: allLarge},
		windows: []int{1},
		long:    []int{2},
	},
	{
		name: "large and small messages both ways, both close, engines prompt",
		c:    Config{Pushes: eachOne, Sizes: allMixed, Closes: closing, Prompt: true},
		long: []int{1},
	},
	{
		name:    "large messages one way, both close, engines prompt",
		c:       Config{Pushes: [2]int{1, 0}, Sizes: allLarge, Closes: closing, Prompt: true},
		windows: []int{1, 2},
		long:    []int{3, 4},
	},
	{
		name: "large messages both ways, both close, engines prompt",
		c:    Config{Pushes: eachOne, Sizes: allLarge, Closes: closing, Prompt: true},
		long: []int{1},
	},
	{
		name:    "the window grows while messages flow one way",
		c:       Config{Pushes: firstOnly, Grows: [2]int{0, 2}},
		windows: []int{1, 2, 3, 4},
	},
	{
		name:    "the window doubles, and again, while messages flow one way",
		c:       Config{Pushes: firstOnly, Grows: [2]int{0, 6}, GrowBy: 2},
		windows: []int{1, 2},
		long:    []int{3, 4},
	},
	{
		name:    "in ping-pong the window doubles without a CREDIT",
		c:       Config{Pushes: eachOne, Mode: PingPong, Doubles: byMessage, Doubled: 8},
		windows: []int{4},
	},
	{
		name:    "the window doubles, told by a message or not, while messages flow both ways, engines prompt",
		c:       Config{Pushes: eachOne, Doubles: secondAnyhow, Doubled: 3, Prompt: true},
		windows: []int{1, 2},
		long:    []int{3},
	},
	{
		name: "the window doubles, told by a message or not, while large and small messages flow both ways, engines prompt",
		c: Config{
			Pushes: eachOne, Sizes: allMixed, Doubles: secondAnyhow, Doubled: 2, Prompt: true,
		},
		long: []int{1},
	},
	{
		name: "the window doubles, told by a message or not, while messages flow both ways and both close, engines prompt",
		c: Config{
			Pushes: eachOne, Doubles: secondAnyhow, Doubled: 2, Closes: closing, Prompt: true,
		},
		windows: []int{1},
		long:    []int{2},
	},
	{
		name:    "both windows grow while messages flow both ways, engines prompt",
		c:       Config{Pushes: eachOne, Grows: growing, Prompt: true},
		windows: []int{1},
		long:    []int{2},
	},
	{
		name:    "the window grows while messages flow one way and both close, engines prompt",
		c:       Config{Pushes: firstOnly, Grows: [2]int{0, 2}, GrowBy: 2, Closes: closing, Prompt: true},
		windows: []int{1},
		long:    []int{2, 3},
	},
	{
		name: "the window grows while large and small messages flow one way and both close, engines prompt",
		c: Config{
			Pushes: [2]int{1, 0}, Sizes: allMixed, Grows: [2]int{0, 2}, GrowBy: 2, Closes: closing,
			Prompt: true,
		},
		long: []int{1, 2},
	},
	{
		name:    "receives are returned in lists while messages flow one way and the window grows",
		c:       Config{Pushes: firstOnly, Lists: 2, Grows: [2]int{0, 4}, GrowBy: 4},
		windows: []int{4, 8},
	},
	{
		name:    "receives are returned in lists while messages flow both ways, engines prompt",
		c:       Config{Pushes: eachOne, Lists: 2, Prompt: true},
		windows: []int{4},
		long:    []int{8},
	},
	{
		name:    "receives are returned in lists in ping-pong",
		c:       Config{Pushes: eachOne, Mode: PingPong, Lists: 2},
		windows: []int{4, 8},
	},
	{
		name:    "receives are returned in lists while one side pushes and both close, engines prompt",
		c:       Config{Pushes: [2]int{1, 0}, Sizes: allMixed, Lists: 2, Closes: closing, Prompt: true},
		windows: []int{2},
		long:    []int{4},
	},
}

// long tells whether the long form was asked for: it takes some minutes and 5 GiB.
func long() bool { return os.Getenv("CATMINT_LONG") != "" }

func TestRulesHoldInEveryInterleaving(t *testing.T) {
	for _, p := range proofs {
		windows := p.windows
		if testing.Short() { // with the race detector, which makes this ten times slower
			windows = windows[:min(1, len(windows))]
		}
		if long() {
			windows = append(append([]int{}, windows...), p.long...)
		}
		for _, w := range windows {
			t.Run(fmt.Sprintf("%s, W=%d", p.name, w), func(t *testing.T) {
				c := p.c
				c.DataWindow, c.CtrlWindow = w, cwire.CtrlWindowDefault
				begin := time.Now()
				r, err := Explore(c)
				require.NoError(t, err)
				require.NotZero(t, r.Quiet, "every run comes to rest somewhere")
				t.Logf("%d states, %d steps, depth %d, %v",
					r.States, r.Steps, r.Depth, time.Since(begin).Round(time.Millisecond))
			})
		}
	}
}

func TestPingPongSendsNoCreditFromThreeReceivesOn(t *testing.T) {
	for _, w := range []int{3, 4, 7} {
		r, err := Explore(Config{DataWindow: w, CtrlWindow: 4, Pushes: eachOne, Mode: PingPong})
		require.NoError(t, err)
		require.Zero(t, r.Sent[cwire.Credit])
		require.NotZero(t, r.Sent[cwire.Data])
	}
}

func TestLargerControlWindowsHoldAsWell(t *testing.T) {
	if testing.Short() {
		t.Skip("the same code runs with the default window")
	}
	for _, ctrl := range []int{5, 6, 8} {
		_, err := Explore(Config{DataWindow: 2, CtrlWindow: ctrl, Pushes: eachOne})
		require.NoError(t, err, "C=%d", ctrl)
		_, err = Explore(Config{DataWindow: 1, CtrlWindow: ctrl, Pushes: eachOne, Closes: closing, Prompt: true})
		require.NoError(t, err, "C=%d", ctrl)
	}
}

// Nothing says that both sides have the same windows.
func TestDifferentWindowsHoldAsWell(t *testing.T) {
	if testing.Short() {
		t.Skip("the same code runs with the default windows")
	}
	for _, other := range []struct{ data, ctrl int }{{1, 5}, {3, 4}, {4, 6}} {
		for _, c := range []Config{
			{Pushes: eachOne},
			{Pushes: [2]int{0, 1}, Sizes: allMixed, Closes: closing, Prompt: true},
			{Pushes: [2]int{1, 0}, Closes: closing},
			{Pushes: [2]int{0, 1}},
		} {
			c.DataWindow, c.CtrlWindow = 1, 4
			c.OtherDataWindow, c.OtherCtrlWindow = other.data, other.ctrl
			r, err := Explore(c)
			require.NoError(t, err, "%+v", c)
			t.Logf("W=1 and %d, C=4 and %d: %d states", other.data, other.ctrl, r.States)
		}
	}
}

func TestExploringGivesUpAtItsLimit(t *testing.T) {
	_, err := Explore(Config{DataWindow: 2, CtrlWindow: 4, Pushes: eachOne, Limit: 100})
	require.ErrorIs(t, err, ErrLimit)
}

func TestWindowsOutsideTheBoundsAreRefused(t *testing.T) {
	_, err := Explore(Config{DataWindow: 0, CtrlWindow: 4})
	require.Error(t, err)
}

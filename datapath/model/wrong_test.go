package model_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	. "catmint/datapath/model" //nolint:revive // the configurations below read better without a prefix
)

// What the explorer says of rules and constants that are wrong.
func TestWrongRulesAreFound(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    Config
		says string
	}{
		{
			name: "credits returned by pushes only stall one-way traffic",
			c:    Config{Wrong: CreditByPushOnly, Pushes: firstOnly},
			says: "deadlock: side 0 has pushes waiting",
		},
		{
			name: "a threshold above the window stalls one-way traffic",
			c:    Config{DataDue: 3, Pushes: firstOnly},
			says: "deadlock: side 0 has pushes waiting",
		},
		{
			name: "lists of receives longer than the window stall one-way traffic",
			c:    Config{Lists: 3, Pushes: firstOnly},
			says: "deadlock: side 0 has pushes waiting",
		},
		{
			name: "a threshold of one list needs CREDITs in ping-pong",
			c:    Config{DataWindow: 4, DataDue: 2, Lists: 2, Pushes: eachOne, Mode: PingPong},
			says: "a bare CREDIT in ping-pong",
		},
		{
			name: "a window that is owed and waits for a list is never returned",
			c:    Config{DataWindow: 4, DataDue: 4, Lists: 3, Pushes: firstOnly},
			says: "deadlock: side 0 has pushes waiting",
		},
		{
			name: "a doubled window's threshold may be more than the peer knows of",
			c:    Config{Wrong: DueBeforeTold, Pushes: eachOne, Doubles: byMessage, Doubled: 2},
			says: "deadlock: side 1 has pushes waiting",
		},
		{
			name: "CREDIT whenever the peer is out costs one for every pop",
			c:    Config{Wrong: CreditWhenOut, DataWindow: 4, Pushes: firstOnly},
			says: "more than one bare CREDIT for half a window",
		},
		{
			name: "a frame that does not carry the counts loses a credit",
			c:    Config{Wrong: PongForgetsCounts, Pushes: firstOnly, Pings: both},
			says: "a credit is lost",
		},
		{
			name: "DATA without credit meets a receiver that is not ready",
			c:    Config{Wrong: DataIgnoresCredit, Pushes: firstOnly},
			says: "receiver not ready",
		},
		{
			name: "FIN without a slot meets a receiver that is not ready",
			c: Config{
				Wrong: FinIgnoresSlots, Pushes: eachOne, Pings: both, Prompt: true, Closes: closing,
			},
			says: "receiver not ready",
		},
		{
			name: "FIN ahead of waiting pushes loses them",
			c:    Config{Wrong: FinOvertakesPushes, Pushes: firstOnly, Closes: closing},
			says: "acknowledged while its messages are not with the peer",
		},
		{
			name: "a full close that keeps what it drops stalls the peer",
			c: Config{
				Wrong: KeepsDropped, DataWindow: 1, Pushes: eachTwo,
				Closes: [2]CloseKind{ClosesFull, ClosesFull},
			},
			says: "deadlock",
		},
		{
			name: "FIN_ACK ahead of READs loses large messages",
			c:    Config{Wrong: FinAckBeforeReads, Pushes: firstOnly, Sizes: allLarge, Closes: closing},
			says: "acknowledged while its large messages are unread",
		},
		{
			name: "READs that wait for pops after a FIN never end the close",
			c:    Config{Wrong: ReadsWaitForPops, Pushes: firstOnly, Sizes: allLarge, Closes: closing},
			says: "deadlock: the close of side 0 never ends",
		},
		{
			name: "returning an RTS's receive before its answer pins more than the window",
			c:    Config{Wrong: AnsweredTooLate, DataWindow: 1, Pushes: eachOne, Sizes: allLarge},
			says: "more large messages are pinned",
		},
		{
			name: "one control receive cannot even begin",
			c:    Config{CtrlWindow: 1, Pushes: firstOnly},
			says: "can send no control frame",
		},
		{
			name: "two control receives are too few",
			c:    Config{CtrlWindow: 2, CtrlDue: 2, Pushes: eachOne},
			says: "can send no control frame",
		},
		{
			name: "three control receives make the sender of one-way traffic answer CREDITs",
			c:    Config{CtrlWindow: 3, CtrlDue: 2, Pushes: firstOnly},
			says: "the sender of one-way traffic sends a bare CREDIT",
		},
		{
			name: "so does a threshold of two with four",
			c:    Config{CtrlWindow: 4, CtrlDue: 2, Pushes: firstOnly},
			says: "the sender of one-way traffic sends a bare CREDIT",
		},
		{
			name: "a threshold of all control receives leaves a side with one slot waiting",
			c:    Config{CtrlWindow: 4, CtrlDue: 4, Pushes: eachOne, Pings: both, Prompt: true},
			says: "can send no control frame",
		},
		{
			name: "without the last slot's rule both sides run out of slots at once",
			c: Config{
				CtrlReserve: -1, DataWindow: 1, Grows: [2]int{3, 3}, Prompt: true,
				Closes: [2]CloseKind{ClosesHalf, ClosesHalf},
			},
			says: "deadlock: side 0 cannot acknowledge a FIN",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := tc.c
			if c.DataWindow == 0 {
				c.DataWindow = 2
			}
			if c.CtrlWindow == 0 {
				c.CtrlWindow = 4
			}
			_, err := Explore(c)
			var v *ViolationError
			require.ErrorAs(t, err, &v)
			require.ErrorContains(t, err, tc.says)
			t.Logf("%v", v)
		})
	}
}

// A threshold of one makes CREDIT answer CREDIT: not only is nothing gained, the two engines
// come back to where they were, for ever.
func TestCreditsAnsweringEachOtherAreACycle(t *testing.T) {
	c := Config{DataWindow: 2, CtrlWindow: 4, CtrlDue: 1, Pushes: firstOnly}
	_, err := Explore(c)
	var v *ViolationError
	require.ErrorAs(t, err, &v)
	require.ErrorContains(t, err, "exchanges without an end are possible")
	cycle := c.Cycle(v.State)
	require.NotEmpty(t, cycle)
	for _, step := range cycle {
		require.Contains(t, []Action{SendCtrl, Deliver}, step.Action, "nothing but CREDITs")
	}
}

func TestAWastefulRuleIsNotACycle(t *testing.T) {
	c := Config{DataWindow: 4, CtrlWindow: 4, Pushes: firstOnly, Wrong: CreditWhenOut}
	_, err := Explore(c)
	var v *ViolationError
	require.ErrorAs(t, err, &v, "wasteful")
	require.Nil(t, c.Cycle(v.State), "and yet without a cycle")
}

//go:build rdma

package libos

import (
	"testing"

	"catmint/rdma"
)

// What the simulated fabric is tested by, once more on a device. Tests that break the network, count
// the provider's objects or slow it down can only run on the former; those of softroce_rdma_test.go
// have a form of their own for the latter.
func TestSoftRoCEDoesAsTheSimDoes(t *testing.T) {
	anywhere = func(t *testing.T, cfg Config) *pair {
		t.Helper()
		f := rdma.NewHardware()
		nothingLeft(t, f)
		addr, ip6 := env(t, "SOFT_ROCE_ADDR"), env(t, "SOFT_ROCE_ADDR6")
		return &pair{a: newNode(t, cfg, f, addr, ip6), b: newNode(t, cfg, f, addr, ip6)}
	}
	defer func() { anywhere = nil }()
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"what a silent application pushed is sent", TestWhatASilentApplicationPushedIsSent},
		{"closing a socket while its queue pair is made cancels its token", TestClosingASocketWhileItsQueuePairIsMadeCancelsItsToken},
		{"an idle connection lives", TestAnIdleConnectionLives},
		{"the timer rests while nobody needs it", TestTheTimerRestsWhileNobodyNeedsIt},
		{"an idle process uses less than a hundredth of a core", TestAnIdleProcessUsesLessThanAHundredthOfACore},
		{"the housekeeper does not tick", TestTheHousekeeperDoesNotTick},
		{"times of keep alive follow the options", TestTimesOfKeepAliveFollowTheOptions},
		{"a wildcard listener takes connections on every address", TestAWildcardListenerTakesConnectionsOnEveryAddress},
		{"closed descriptors are used again", TestClosedDescriptorsAreUsedAgain},
		{"closing cancels pending pops and lets pushes drain", TestClosingCancelsPendingPopsAndLetsPushesDrain},
		{"linger zero cuts the connection", TestLingerZeroCutsTheConnection},
		{"asynchronous close completes its token", TestAsynchronousCloseCompletesItsToken},
		{"half a close leaves the other half", TestHalfACloseLeavesTheOtherHalf},
		{"both sides may close at the same time", TestBothSidesMayCloseAtTheSameTime},
		{"the end of the program closes what is open", TestTheEndOfTheProgramClosesWhatIsOpen},
		{"shutdown drops tokens that nobody redeemed", TestShutdownDropsTokensThatNobodyRedeemed},
		{"a peer that goes on taking messages gets all of them", TestAPeerThatGoesOnTakingMessagesGetsAllOfThem},
		{"SO_LINGER bounds a close whatever the peer does", TestSOLingerBoundsACloseWhateverThePeerDoes},
		{"options are kept and told", TestOptionsAreKeptAndTold},
		{"an accepted socket begins with its listeners options", TestAnAcceptedSocketBeginsWithItsListenersOptions},
		{"options have their defaults", TestOptionsHaveTheirDefaults},
		{"bad options are refused", TestBadOptionsAreRefused},
		{"a port in use is told from an address of another host", TestAPortInUseIsToldFromAnAddressOfAnotherHost},
		{"a port is used again after its socket is closed", TestAPortIsUsedAgainAfterItsSocketIsClosed},
		{"beyond the backlog connections are refused and not lost", TestBeyondTheBacklogConnectionsAreRefusedAndNotLost},
		{"a connection that was closed before it was accepted can still be read", TestAConnectionThatWasClosedBeforeItWasAcceptedCanStillBeRead},
		{"closing a listener cancels its accepts and cuts what nobody accepted", TestClosingAListenerCancelsItsAcceptsAndCutsWhatNobodyAccepted},
		{"without tokens nothing can be started", TestWithoutTokensNothingCanBeStarted},
		{"counters are read while connections come and go", TestCountersAreReadWhileConnectionsComeAndGo},
		{"the counters of both sides agree with what was done", TestTheCountersOfBothSidesAgreeWithWhatWasDone},
		{"a message above what the peer takes is too long", TestAMessageAboveWhatThePeerTakesIsTooLong},
		{"waiting for nothing is invalid", TestWaitingForNothingIsInvalid},
		{"a wait that is cancelled leaves the token alone", TestAWaitThatIsCancelledLeavesTheTokenAlone},
		{"the first of several tokens wakes", TestTheFirstOfSeveralTokensWakes},
		{"tokens of two engines do not mix", TestTokensOfTwoEnginesDoNotMix},
		{"of two who wait for a token one gets it", TestOfTwoWhoWaitForATokenOneGetsIt},
		{"progress needs no call of the application", TestProgressNeedsNoCallOfTheApplication},
	} {
		t.Run(test.name, test.run)
	}
}

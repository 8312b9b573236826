package model

import "catmint/datapath/internal/cwire"

// Config bounds what is explored. The zero value of a field leaves the behaviour out.
type Config struct {
	DataWindow  int // data receives of each side, W
	CtrlWindow  int // control receives of each side, C
	DataDue     int // overrides the rules' threshold
	CtrlDue     int // overrides the rules' threshold
	CtrlReserve int // overrides the rules' reserve; -1: none

	OtherDataWindow int // W of side 1, if it differs
	OtherCtrlWindow int // C of side 1, if it differs

	// What the applications may do, side by side: [0] and [1].
	Pushes   [2]int       // pushes waiting to be sent, at most; 0: never pushes
	Sizes    [2]Sizes     // of the messages pushed
	Closes   [2]CloseKind // how it may close
	Pings    [2]bool      // keepalive may send PINGs
	Grows    [2]int       // data receives added to the window, at most
	GrowBy   int          // so many at once; 0: one
	Doubles  [2]Doubling  // how the window may double, besides
	Doubled  int          // data receives added by that and by Grows, at most
	Lists    int          // receives of popped messages are returned in lists of so many; 0: one by one
	Keeps    bool         // they are returned with a DONE or RESET, or when the caller says so, and not before
	Mode     Mode         // restricts who pushes when
	Prefetch bool         // large messages are read before a pop waits for them
	Cuts     bool         // the linger time may run out
	Prompt   bool         // engines send at once what they may, instead of at any time later
	Wrong    Mutation     // a rule broken on purpose
	Limit    int          // states after which Explore gives up; 0: none
}

// windows returns the receives that side i posts.
func (c *Config) windows(i int) (data, ctrl uint16) {
	data, ctrl = uint16(c.DataWindow), uint16(c.CtrlWindow)
	if i == 1 && c.OtherDataWindow != 0 {
		data = uint16(c.OtherDataWindow)
	}
	if i == 1 && c.OtherCtrlWindow != 0 {
		ctrl = uint16(c.OtherCtrlWindow)
	}
	return data, ctrl
}

// Sizes says how the messages of a side are sent.
type Sizes uint8

// The sizes of messages.
const (
	Eager Sizes = iota // by DATA
	Large              // by RTS
	Mixed
)

// Doubling says how a window may double.
type Doubling uint8

// The ways of a window that doubles.
const (
	NeverDoubles     Doubling = iota
	DoublesByMessage          // the next message says so
	DoublesAnyhow             // or a CREDIT after all
)

// CloseKind says which closes an application may ask for.
type CloseKind uint8

// The kinds of closing.
const (
	NeverCloses CloseKind = iota
	ClosesHalf
	ClosesFull
	ClosesAnyhow // half, full, or half and later full
)

func (k CloseKind) allows(level cwire.Level) bool {
	switch k {
	case ClosesHalf:
		return level == cwire.Half
	case ClosesFull:
		return level == cwire.Full
	case ClosesAnyhow:
		return true
	default:
		return false
	}
}

// Mode restricts the applications to a pattern of traffic.
type Mode uint8

// The patterns of traffic.
const (
	Free     Mode = iota
	PingPong      // side 0 pushes one message, side 1 pops it and pushes one back, and so on
)

// Mutation breaks one rule, to see the model find it.
type Mutation uint8

// The rules that can be broken.
const (
	Correct            Mutation = iota
	CreditByPushOnly            // no bare CREDIT is ever sent
	CreditWhenOut               // a bare CREDIT also goes when anything is owed and the peer is out
	PongForgetsCounts           // a PONG counts as having told what it does not carry
	FinOvertakesPushes          // FIN does not wait for pushes that wait for credit
	FinIgnoresSlots             // FIN is sent without a control slot
	DataIgnoresCredit           // DATA is sent without credit
	KeepsDropped                // a full close does not return the receives of dropped messages
	FinAckBeforeReads           // FIN_ACK does not wait for RDMA READs
	ReadsWaitForPops            // after a FIN, RDMA READs still wait for pops
	DueBeforeTold               // the threshold of a doubled window counts before the peer knows of it
	AnsweredTooLate             // a large message's receive is returned before its DONE or RESET is sent
)

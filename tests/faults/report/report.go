// Package report is what the fault tests and their agents say to each other: commands on the
// agent's standard input, events on its standard output, each a line of JSON.
package report

// Command tells an agent what to do.
type Command struct {
	Do   string `json:"do"`
	Name string `json:"name,omitempty"` // of a connection
	Addr string `json:"addr,omitempty"` // ADDRESS:PORT to listen on or to connect to
	Mode string `json:"mode,omitempty"` // of a connection
	N    int    `json:"n,omitempty"`    // backlog, accepts, messages or requests
}

// What Command.Do may be.
const (
	Listen   = "listen"    // listen on Addr with a backlog of N, and no accept
	Accept   = "accept"    // keep N accepts outstanding from now on
	Unlisten = "unlisten"  // close the listener
	Mute     = "mute"      // on Addr, take connection requests and never answer them
	Forget   = "forget"    // drop the requests that were not answered
	Connect  = "connect"   // connect Name to Addr, and live by Mode
	Finish   = "finish"    // of Name: pop, push nothing more, say when everything is acknowledged
	Close    = "close"     // of Name
	HalfOpen = "half-open" // send N connection requests to Addr and complete none
	Stock    = "objects"   // say what this process has open
	Count    = "count"     // say what the device has counted
	Exit     = "exit"      // close everything in order and end
)

// The modes of a connection. Both sides do the same.
const (
	Traffic = "traffic" // messages go both ways until Finish, N in all if that is not 0
	Stalled = "stalled" // messages are pushed that nobody pops before Finish
	Idle    = "idle"    // pops wait, and nothing is pushed
)

// Event is what an agent saw.
type Event struct {
	Ev    string `json:"ev"`
	Conn  string `json:"conn,omitempty"`
	Kind  string `json:"kind,omitempty"`  // of a token
	Errno string `json:"errno,omitempty"` // how it ended; "" is success
	Why   string `json:"why,omitempty"`   // more about that
	N     int    `json:"n,omitempty"`

	Sent     uint64 `json:"sent,omitempty"`     // messages pushed
	Acked    uint64 `json:"acked,omitempty"`    // of these, acknowledged by the peer's application
	Received uint64 `json:"received,omitempty"` // messages popped, each intact and in its turn

	Done    map[string]int `json:"done,omitempty"`    // tokens that ended well, by kind
	Objects map[string]int `json:"objects,omitempty"` // that are open, by kind

	Counters map[string]uint64 `json:"counters,omitempty"` // of the devices used, by the driver's names
}

// What Event.Ev may be.
const (
	Ready     = "ready"     // the agent takes commands
	Listening = "listening" //
	Request   = "request"   // a connection request came to the listener
	Muted     = "muted"     // a connection request came that will not be answered
	Token     = "token"     // a token of Kind has ended with Errno
	Session   = "session"   // Conn exists on this side
	Progress  = "progress"  // the counts of Conn
	Waiting   = "waiting"   // N tokens of Kind wait on Conn, and no more will be made for now
	Finished  = "finished"  // Finish is done: all that this side pushed was acknowledged
	Ended     = "ended"     // no token of Conn waits any more; Errno and Why of the first that failed
	Closed    = "closed"    // and its close is done
	Half      = "half"      // N requests have been sent
	Objects   = "objects"   // answers Stock
	Counters  = "counters"  // answers Count
	Bye       = "bye"       // everything was closed; Objects is what is left
	Broken    = "broken"    // something that must not happen: Why
)

// Kinds of tokens.
const (
	KindConnect   = "connect"
	KindAccept    = "accept"
	KindPop       = "pop"
	KindPushSmall = "push small"
	KindPushLarge = "push large"
	KindClose     = "close"
)

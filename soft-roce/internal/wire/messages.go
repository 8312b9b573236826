package wire

import "time"

// Boot is the host's answer to Hello: everything about this guest that differs from run to run.
type Boot struct {
	Host string // name of the guest: "a" or "b"

	Net Net // the network device that carries RoCE

	Writable []string // folders that are writable through to the outside, by absolute path
}

// Net describes the network device of a guest and the addresses on it.
type Net struct {
	// Peered says that the network device is a virtio-net card joined to the other guest. Otherwise
	// the guest makes itself a veth pair.
	Peered bool
	MTU    int    // bytes
	Addr   string // own IPv4 address in CIDR form
	Peer   string // the peer's IPv4 address, the own one if there is no peer
	Addr6  string // own IPv6 address in CIDR form
	Peer6  string // the peer's IPv6 address
}

// Ready is what the guest found once RDMA works.
type Ready struct {
	Kernel  string            // release of the guest's kernel
	Env     map[string]string // variables that describe the host to commands: SOFT_ROCE_DEVICE, ...
	Phases  []Phase           // what set-up spent its time on, in order
	Uptime  time.Duration     // guest's clock since it was started, at the end of the set-up
	Devices []string          // RDMA devices
}

// Phase is one step of a guest's set-up.
type Phase struct {
	Name string
	Took time.Duration
}

// Exec asks for a command to be run.
type Exec struct {
	Args  []string // program and arguments; the program is looked up in PATH of Env
	Dir   string   // working folder
	Env   []string // the whole environment, KEY=value; what Ready told is added to it
	Stdin bool     // whether Stdin frames will follow; if not, input is empty
	TTY   *WindowSize
}

// WindowSize is the size of a terminal in characters.
type WindowSize struct {
	Rows, Cols uint16
}

// Signal is a signal to deliver.
type Signal struct {
	Number int
}

// Exit tells how a command ended. Exactly one of the three cases holds: Error is set (the command
// could not be started), Signal is set (a signal ended it), or Code is its exit status.
type Exit struct {
	Code     int
	Signal   int
	Error    string
	NotFound bool // with Error: there is no such program
}

// Exit statuses as shells and env(1) use them.
const (
	StatusCannotRun  = 126 // found, but could not be started
	StatusNotFound   = 127 // no such command
	StatusSignalBase = 128 // plus the number of the signal that ended the command
)

// Status returns the exit status to carry outside, following the shells' conventions.
func (e Exit) Status() int {
	switch {
	case e.Error != "" && e.NotFound:
		return StatusNotFound
	case e.Error != "":
		return StatusCannotRun
	case e.Signal != 0:
		return StatusSignalBase + e.Signal
	default:
		return e.Code
	}
}

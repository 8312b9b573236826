package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"catmint/cmd/rping-demi/internal/rping"
	"catmint/libos"
)

// The limits and defaults that people know from rping.
const (
	defaultPort = 7174
	defaultSize = 64

	bandwidthSize = 4096 // bytes of a ping in mode bandwidth
	sweepCount    = 100  // pings of each size

	maxConnections = 1024
	maxSize        = 1 << 30 // the largest message of the API, in bytes
)

// options is the command line, checked.
type options struct {
	server     bool
	client     bool
	address    string // server: where to listen, empty for every address; client: the peer
	bind       string // client: the local address to connect from, empty for any
	port       uint16
	count      int // pings to send; 0 is for ever
	size       int // bytes of a message
	verbose    bool
	validate   bool
	debug      bool
	persistent bool
	timeout    time.Duration // of an answer, see patience
	protocol   protocol

	mode        mode
	sweep       []int         // sizes, in place of size
	duration    time.Duration // of a run, 0 for no limit
	connections int           // at the same time
	wait        string        // spin, adaptive or block; empty for the environment's
	json        bool
	histogram   bool
	timeline    bool
	stats       bool
	metrics     string // where to serve metrics, HOST:PORT; empty for the environment's
	doctor      bool   // neither a server nor a client
	selfQP      bool   // accepted for rping's sake
}

// largest is the largest size that is asked for.
func (o *options) largest() int {
	n := o.size
	for _, size := range o.sweep {
		n = max(n, size)
	}
	return n
}

// slowest is the rate, in bytes a second there and back, below which a large message counts as
// lost: Soft-RoCE on a busy machine is nearly that slow.
const slowest = 2 << 20

// patience is how long to wait for the answer to a ping.
func (o *options) patience() time.Duration {
	return o.timeout + time.Duration(o.size/slowest)*time.Second
}

// errHelp says that help was asked for and printed.
var errHelp = errors.New("help was printed")

// usageError is a command line that cannot be carried out.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

const helpText = `rping-demi checks an RDMA link: it connects through the Demikernel API over a
reliable-connected queue pair, bounces messages, and says whether each came back
(intact, with -V) and how fast.

On one machine, start a server; on the other, ping it until Ctrl-C:

  rping-demi --server
  rping-demi --client --address 192.0.2.1

Ten validated pings of 4 KiB, each shown, to a server on another port:

  rping-demi --server --port 9999 --persistent
  rping-demi -c -a 192.0.2.1 -p 9999 -C 10 -S 4096 -v -V

The other side may as well be rdma-core's rping: servers take both kinds of
clients, and clients find out. How fast is the link, for people and for scripts?

  rping-demi -c -a 192.0.2.1 -C 10000 --histogram
  rping-demi -c -a 192.0.2.1 --mode rate --duration 10s --json

Does it not work, where does the time go, and what happened on the way?

  rping-demi --doctor
  rping-demi -c -a 192.0.2.1 --timeline
  rping-demi -s -P --stats --metrics 127.0.0.1:9464

192.0.2.1 stands for the server's address, which a server prints: one of a
network device that has an RDMA device. "rdma link" lists them; without RDMA
hardware, "rdma link add rxe0 type rxe netdev eth0" makes one. RDMA does not
run over the loopback address.
`

const helpTail = `
Exit status: 0 when every ping came back (--doctor: RDMA works here), 22
for a wrong command line, 19 when there is no RDMA device, 254 when a host name
does not resolve, 255 for anything else.

Environment: DEMI_LOG=debug logs what the library does; --help-env lists every
variable.
`

const envHelpHead = `Environment variables of every program that uses Catmint, with their defaults;
an empty one counts as unset:

`

// commandLine is the command line as it is read.
type commandLine struct {
	options
	port    int
	sweep   string
	help    bool
	helpEnv bool
}

// flags are what a command line may hold.
func (c *commandLine) flags() *pflag.FlagSet {
	o := &c.options
	o.protocol = protocolAuto
	fs := pflag.NewFlagSet("rping-demi", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard)
	fs.BoolVarP(&o.server, "server", "s", false, "wait for a client and echo its pings")
	fs.BoolVarP(&o.client, "client", "c", false, "connect to a server and ping it")
	fs.StringVarP(&o.address, "address", "a", "", "`address` to listen on (server) or to connect to (client)")
	fs.StringVarP(&o.bind, "bind", "I", "", "client: local `address` to connect from")
	fs.StringVarP(&o.bind, "source", "B", "", "client: local `address` to connect from, the same as -I")
	fs.IntVarP(&c.port, "port", "p", defaultPort, "`port`, 1 to 65535")
	fs.IntVarP(&o.count, "count", "C", 0, "stop after this `number` of pings, 0 for never; "+
		"a server expects as many, and a client that leaves earlier has failed")
	o.size = defaultSize
	fs.VarP((*sizeValue)(&o.size), "size", "S", "client: `bytes` in a message, up to 1G; K, M and G stand for powers of 1024")
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "print each ping's data")
	fs.BoolVarP(&o.validate, "validate", "V", false, "client: compare what comes back with what was sent")
	fs.BoolVarP(&o.debug, "debug", "d", false, "log what the library does on standard error")
	fs.BoolVarP(&o.persistent, "persistent", "P", false, "server: serve any number of clients, until interrupted")
	fs.BoolVarP(&o.selfQP, "self-qp", "q", false, "accepted for rping's sake, and makes no difference")
	fs.Var(&o.protocol, "protocol", "`what` to speak: demi, rping, or auto, which is what the peer speaks")
	fs.StringVar((*string)(&o.mode), "mode", string(modeLatency),
		"client: `what` to measure: latency, one ping after the other; rate or bandwidth, many in flight; "+
			"connect, connections made and closed")
	fs.StringVar(&c.sweep, "size-sweep", "", "client: run with each power of two in `FIRST:LAST` bytes, as in 64:4K")
	fs.DurationVar(&o.duration, "duration", 0, "client: stop after this `time`, such as 10s")
	fs.IntVar(&o.connections, "connections", 1, "client: ping over this `number` of connections at once")
	fs.DurationVar(&o.timeout, "timeout", 10*time.Second,
		"give a peer that does not answer up after this `time`; a message has 1s more for each 2 MiB")
	fs.StringVar(&o.wait, "wait", "", "`how` to wait: spin, adaptive or block (default adaptive, or $DEMI_WAIT)")
	fs.BoolVar(&o.histogram, "histogram", false, "client: draw how many pings took how long")
	fs.BoolVar(&o.timeline, "timeline", false,
		"draw how long each phase of a connection took; a client pings once unless -C says otherwise")
	fs.BoolVar(&o.stats, "stats", false, "print what was counted at the end, and on SIGUSR1")
	fs.StringVar(&o.metrics, "metrics", "", "serve what is counted at http://`HOST:PORT`/metrics, for Prometheus")
	fs.BoolVar(&o.doctor, "doctor", false, "find out what keeps RDMA from working here, and say what to do")
	fs.BoolVar(&o.json, "json", false, "print one line of JSON for each result, and nothing else")
	fs.BoolVarP(&c.help, "help", "h", false, "print this help")
	fs.BoolVar(&c.helpEnv, "help-env", false, "print the environment variables of programs that use Catmint")
	return fs
}

// usages describes the flags in lines of so many columns: those of both sides, and apart
// those whose description says that they are for one.
func usages(fs *pflag.FlagSet, columns int) string {
	var text strings.Builder
	for _, group := range []struct{ title, mark string }{
		{"Options", ""}, {"Options of a client", "client"}, {"Options of a server", "server"},
	} {
		some := pflag.NewFlagSet(group.title, pflag.ContinueOnError)
		some.SortFlags = false
		fs.VisitAll(func(f *pflag.Flag) {
			mark, _, _ := strings.Cut(f.Usage, ":")
			if mark != "client" && mark != "server" {
				mark = ""
			}
			if mark == group.mark {
				one := *f
				one.Usage = strings.TrimPrefix(f.Usage, mark+": ")
				some.AddFlag(&one)
			}
		})
		fmt.Fprintf(&text, "\n%s:\n%s", group.title, some.FlagUsagesWrapped(columns))
	}
	const clutter = "[=true|false]"
	return strings.ReplaceAll(text.String(), clutter, strings.Repeat(" ", len(clutter)))
}

// parseOptions reads the command line; help goes to out.
func parseOptions(args []string, out io.Writer) (options, error) {
	var c commandLine
	fs := c.flags()
	err := fs.Parse(args)
	o := c.options
	if err != nil {
		return o, usagef("%v", err)
	}
	if c.help {
		fmt.Fprint(out, helpText, usages(fs, helpColumns(out)), helpTail)
		return o, errHelp
	}
	if c.helpEnv {
		fmt.Fprint(out, envHelpHead, libos.EnvHelp())
		return o, errHelp
	}
	if fs.NArg() > 0 {
		return o, usagef("%q is not an option; an address goes after -a", fs.Arg(0))
	}
	o.port = uint16(max(0, min(c.port, math.MaxUint16)))
	if o.mode == modeBandwidth && !fs.Changed("size") {
		o.size = bandwidthSize
	}
	if c.sweep != "" {
		if o.sweep, err = parseSweep(c.sweep); err != nil {
			return o, err
		}
		if o.count == 0 {
			o.count = sweepCount
		}
	}
	if o.timeline && o.client && o.count == 0 && o.duration == 0 && !fs.Changed("count") {
		o.count = 1
	}
	if o.doctor {
		return o, checkDoctor(fs)
	}
	if err := o.check(c.port); err != nil {
		return o, err
	}
	return o, o.checkModes()
}

func (o *options) check(port int) error {
	switch {
	case o.server == o.client:
		return usagef("say either -s (server) or -c (client), or --doctor")
	case o.client && strings.TrimSpace(o.address) == "":
		return usagef("a client needs the server's address: -a ADDRESS")
	case o.client && o.persistent:
		return usagef("-P is for a server")
	case o.server && o.bind != "":
		return usagef("-I is for a client; a server takes its address with -a")
	case port < 1 || port > math.MaxUint16:
		return usagef("port %d is not in 1 to %d", port, math.MaxUint16)
	case o.size < 1 || o.size > maxSize:
		return usagef("size %d is not in 1 to %d bytes", o.size, maxSize)
	case o.count < 0:
		return usagef("count %d is negative; 0 means until interrupted", o.count)
	case o.timeout <= 0:
		return usagef("timeout %v is not positive", o.timeout)
	case o.client && o.protocol == protocolRping && !rpingSize(o.largest()):
		return usagef("size %d is not in %d to %d bytes, which rping's protocol takes", o.largest(), rping.MinSize, rping.MaxSize)
	}
	return nil
}

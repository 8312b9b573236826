package libos

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"catmint/datapath"
	"catmint/libos/hello"
)

// Config configures a process. Take DefaultConfig or ConfigFromEnv and change what must
// be different.
type Config struct {
	// ConnectTimeout is the time for a whole connect (and accept), from the call until
	// established. The default leaves room for three CM retries of 4.3 s each.
	ConnectTimeout time.Duration
	// ConfirmTime is how long a peer whose request was accepted keeps its place in a full
	// backlog without confirming the connection; then it gives way to the next request.
	ConfirmTime time.Duration
	// ResolveTimeout is the time for one try of address or route resolution.
	ResolveTimeout time.Duration
	// RetryDelay is the time between two tries of a resolution.
	RetryDelay time.Duration
	// Linger is how long Close waits for a peer that takes nothing, when SO_LINGER says
	// nothing: it starts anew whenever the peer takes a message.
	Linger time.Duration
	// KeepAlive is how long a peer may be silent before it counts as dead and everything
	// outstanding ends with ETIMEDOUT, unless a socket's options say otherwise; 0: for ever.
	// After a third of it the peer is asked whether it is there.
	KeepAlive time.Duration
	// FlushTimeout bounds the time for posted work to be accounted for, and for the
	// peer to answer a disconnect, before a queue pair is destroyed all the same.
	FlushTimeout time.Duration

	// RecvSize is the size of every receive in bytes, frame header included; the
	// largest message sent without rendezvous is that less the header.
	RecvSize uint32
	// MaxMessage is the largest message that we take, in bytes: up to 1 GiB, and never less
	// than what one receive takes. Above that, messages are fetched by RDMA READ.
	MaxMessage uint64
	// DataWindow and CtrlWindow are the receives posted for messages and for control
	// frames on a fresh connection.
	DataWindow uint32
	CtrlWindow uint32
	// MaxDataWindow is to what the receives for messages may grow with traffic; no more than
	// DataWindow means that they do not. A connection that has grown so far holds as many
	// times RecvSize bytes.
	MaxDataWindow uint32
	// SendDepth is the entries asked for in a connection's send queue.
	SendDepth uint32
	// MaxInline is the inline data asked for, in bytes; a device may grant less.
	MaxInline uint32
	// CQDepth is the size of a completion queue; when its budget is spent, another one
	// is made.
	CQDepth int

	// QPPool is how many queue pairs are made ahead, receives posted, for each device and port
	// in use, so that connects and accepts need not wait for theirs; 0 for none.
	QPPool int

	// WaitMode and Spin say how a C caller of wait behaves while its tokens are pending.
	WaitMode datapath.WaitMode
	Spin     time.Duration
	// MaxTokens bounds the tokens alive per engine, MaxArenaMem the bytes of registered
	// arenas in the process; 0 means the default.
	MaxTokens   uint32
	MaxArenaMem uint64

	// MetricsAddr is where the counters are served over HTTP, HOST:PORT, in the text format
	// of Prometheus at /metrics; "" for nowhere. An address that cannot be used is said in
	// the log, or on standard error without one, and breaks nothing.
	MetricsAddr string

	// Logger takes structured logs; nil for none.
	Logger *slog.Logger
}

// DefaultConfig is what a process gets that says nothing.
//
// The depths of send and completion queues are one less than a power of two. Rings of rxe, and
// completion queues of mlx5, have a power of two of entries and at least one more than asked
// for: 64 would be 128 there. Elsewhere one entry less costs nothing.
func DefaultConfig() Config {
	return Config{
		ConnectTimeout: 20 * time.Second,
		ConfirmTime:    time.Second,
		ResolveTimeout: 2 * time.Second,
		RetryDelay:     100 * time.Millisecond,
		Linger:         2 * time.Second,
		KeepAlive:      defaultKeepAlive,
		FlushTimeout:   5 * time.Second,
		RecvSize:       8192,
		MaxMessage:     hello.MaxMaxMessage,
		DataWindow:     4,
		CtrlWindow:     4,
		MaxDataWindow:  64,
		SendDepth:      63,
		MaxInline:      256,
		CQDepth:        4095,
		WaitMode:       datapath.WaitAdaptive,
		Spin:           20 * time.Microsecond,
	}
}

// A ConfigError says which environment variable or field has a value that cannot be used,
// in one clear line. It unwraps to EINVAL.
type ConfigError struct {
	Name  string // of the variable or field
	Value string
	Want  string // what would have been right
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("catmint: %s=%q: want %s", e.Name, e.Value, e.Want)
}

// Unwrap returns EINVAL.
func (e *ConfigError) Unwrap() error { return syscall.EINVAL }

// envVar is an environment variable: what sets it, and the line of help.
type envVar struct {
	name string
	help string
	want string
	set  func(c *Config, v string) bool
}

func millisecondsVar(field func(*Config) *time.Duration, low int64) func(*Config, string) bool {
	return func(c *Config, v string) bool {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < low || n > math.MaxInt32 {
			return false
		}
		*field(c) = time.Duration(n) * time.Millisecond
		return true
	}
}

func setDuration(field *time.Duration, d time.Duration) bool {
	*field = d
	return true
}

func countVar(field func(*Config) *uint32, low, high uint64) func(*Config, string) bool {
	return func(c *Config, v string) bool {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n < low || n > high {
			return false
		}
		*field(c) = uint32(n)
		return true
	}
}

var envVars = []envVar{
	{
		"DEMI_CONNECT_TIMEOUT_MS", "time for a whole connect, in milliseconds (20000)", "milliseconds, at least 1",
		millisecondsVar(func(c *Config) *time.Duration { return &c.ConnectTimeout }, 1),
	},
	{
		"DEMI_LINGER_MS", "how long close waits for the peer, in milliseconds (2000)", "milliseconds, 0 or more",
		millisecondsVar(func(c *Config) *time.Duration { return &c.Linger }, 0),
	},
	{
		"DEMI_KEEPALIVE_MS", "silence after which a peer counts as dead, in milliseconds; 0: never (30000)",
		"milliseconds, 10 or more, or 0",
		func(c *Config, v string) bool {
			low := int64(minKeepAlive / time.Millisecond)
			return v == "0" && setDuration(&c.KeepAlive, 0) ||
				millisecondsVar(func(c *Config) *time.Duration { return &c.KeepAlive }, low)(c, v)
		},
	},
	{
		"DEMI_RECV_SIZE", "size of a receive in bytes (8192)", "bytes, 256 to 1048576",
		countVar(func(c *Config) *uint32 { return &c.RecvSize }, 256, 1<<20),
	},
	{
		"DEMI_MAX_MESSAGE", "largest message taken, in bytes (1073741824)", "bytes, 1 to 1073741824",
		func(c *Config, v string) bool {
			n, err := strconv.ParseUint(v, 10, 64)
			c.MaxMessage = n
			return err == nil && n >= 1 && n <= hello.MaxMaxMessage
		},
	},
	{
		"DEMI_RECV_WINDOW", "receives for messages on a fresh connection (4)", "a count, 1 to 1024",
		countVar(func(c *Config) *uint32 { return &c.DataWindow }, 1, 1024),
	},
	{
		"DEMI_RECV_WINDOW_MAX", "to what they may grow with traffic (64)", "a count, 1 to 16384",
		countVar(func(c *Config) *uint32 { return &c.MaxDataWindow }, 1, hello.MaxWindow),
	},
	{
		"DEMI_QP_POOL", "queue pairs made ahead for each device in use (0)", "a count, 0 to 1024",
		func(c *Config, v string) bool {
			n, err := strconv.ParseUint(v, 10, 32)
			c.QPPool = int(n)
			return err == nil && n <= maxQPPool
		},
	},
	{
		"DEMI_WAIT", "adaptive, spin or block: how wait behaves (adaptive)", "adaptive, spin or block",
		func(c *Config, v string) bool {
			switch v {
			case "adaptive":
				c.WaitMode = datapath.WaitAdaptive
			case "spin":
				c.WaitMode = datapath.WaitSpin
			case "block":
				c.WaitMode = datapath.WaitBlock
			default:
				return false
			}
			return true
		},
	},
	{
		"DEMI_MAX_TOKENS", "tokens alive per engine at most (1048576)", "a count, 1 to 16777216",
		countVar(func(c *Config) *uint32 { return &c.MaxTokens }, 1, 1<<24),
	},
	{
		"DEMI_METRICS_ADDR", "HOST:PORT to serve counters at over HTTP (nowhere)",
		"HOST:PORT, such as 127.0.0.1:9464",
		func(c *Config, v string) bool {
			c.MetricsAddr = v
			return ValidMetricsAddr(v)
		},
	},
	{
		"DEMI_LOG", "off, error, warn, info or debug: structured log on stderr (off)", "off, error, warn, info or debug",
		func(c *Config, v string) bool {
			level, ok := map[string]slog.Level{
				"error": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo, "debug": slog.LevelDebug,
			}[strings.ToLower(v)]
			if !ok {
				return v == "off"
			}
			c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			return true
		},
	},
}

// EnvHelp describes the environment variables, one a line.
func EnvHelp() string {
	var b strings.Builder
	for _, v := range envVars {
		fmt.Fprintf(&b, "  %-24s %s\n", v.name, v.help)
	}
	return b.String()
}

// ConfigFromEnv is DefaultConfig changed by the environment; getenv is os.Getenv or a
// test's. An empty variable counts as unset. LIBOS and CONFIG_PATH, which Demikernel
// requires, are accepted and ignored. The errors of all bad values are joined; each is a
// *ConfigError. What is misspelt is found by WarnUnknownVariables.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	c := DefaultConfig()
	var errs []error
	for _, v := range envVars {
		if s := getenv(v.name); s != "" && !v.set(&c, s) {
			errs = append(errs, &ConfigError{v.name, s, v.want})
		}
	}
	if len(errs) == 0 {
		if err := c.check(); err != nil {
			errs = append(errs, err)
		}
	}
	return c, errors.Join(errs...)
}

// check finds values that cannot work, whoever set them.
func (c *Config) check() error {
	bad := func(name string, value any, want string) error {
		return &ConfigError{name, fmt.Sprint(value), want}
	}
	switch {
	case c.ConnectTimeout <= 0:
		return bad("ConnectTimeout", c.ConnectTimeout, "a positive time")
	case c.ResolveTimeout <= 0:
		return bad("ResolveTimeout", c.ResolveTimeout, "a positive time")
	case c.ConfirmTime <= 0:
		return bad("ConfirmTime", c.ConfirmTime, "a positive time")
	case c.RetryDelay < 0 || c.Linger < 0:
		return bad("RetryDelay or Linger", min(c.RetryDelay, c.Linger), "no negative time")
	case c.KeepAlive != 0 && c.KeepAlive < minKeepAlive:
		return bad("KeepAlive", c.KeepAlive, "10 ms or more, or 0")
	case c.FlushTimeout <= 0:
		return bad("FlushTimeout", c.FlushTimeout, "a positive time")
	case c.RecvSize < hello.MinRecvSize || c.RecvSize > hello.MaxRecvSize:
		return bad("RecvSize", c.RecvSize, "64 bytes to 16 MiB")
	case c.MaxMessage == 0 || c.MaxMessage > hello.MaxMaxMessage:
		return bad("MaxMessage", c.MaxMessage, "1 byte to 1 GiB")
	case c.DataWindow == 0 || c.DataWindow > hello.MaxWindow ||
		c.CtrlWindow < hello.MinCtrlWindow || c.CtrlWindow > hello.MaxWindow:
		return bad("DataWindow, CtrlWindow", fmt.Sprint(c.DataWindow, ", ", c.CtrlWindow), "1 to 16384 and 4 to 16384 receives")
	case c.MaxDataWindow > hello.MaxWindow:
		return bad("MaxDataWindow", c.MaxDataWindow, "at most 16384 receives")
	case c.SendDepth < 4:
		return bad("SendDepth", c.SendDepth, "at least 4")
	case c.QPPool < 0 || c.QPPool > maxQPPool:
		return bad("QPPool", c.QPPool, "0 to 1024 queue pairs")
	case c.MetricsAddr != "" && !ValidMetricsAddr(c.MetricsAddr):
		return bad("MetricsAddr", c.MetricsAddr, "HOST:PORT, such as 127.0.0.1:9464")
	case c.CQDepth < int(c.SendDepth+c.DataWindow+c.CtrlWindow):
		return bad("CQDepth", c.CQDepth, "room for one connection")
	}
	return nil
}

// maxQPPool bounds Config.QPPool.
const maxQPPool = 1024

// limits is what we tell a peer of ourselves; reads says how many RDMA READs we can have
// under way at once. Without any there are no large messages.
func (c *Config) limits(reads uint8) datapath.ConnLimits {
	eager := uint64(c.RecvSize) - frameHeader
	most := c.MaxMessage
	if c.MaxArenaMem != 0 {
		most = min(most, c.MaxArenaMem)
	}
	if reads == 0 {
		most = eager
	}
	return datapath.ConnLimits{
		RecvSize: c.RecvSize, DataWindow: c.DataWindow, CtrlWindow: c.CtrlWindow,
		MaxMessage: max(most, eager),
	}
}

// frameHeader is the size of a frame's header in bytes, docs/protocol.md.
const frameHeader = 16

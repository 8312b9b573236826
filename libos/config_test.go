package libos

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma"
	"catmint/rdma/sim"
)

func environment(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

func TestAnEmptyEnvironmentIsTheDefault(t *testing.T) {
	c, err := ConfigFromEnv(environment())
	require.NoError(t, err)
	require.Equal(t, DefaultConfig(), c)
}

func TestTheEnvironmentSetsEveryVariable(t *testing.T) {
	c, err := ConfigFromEnv(environment(
		"DEMI_CONNECT_TIMEOUT_MS", "1500", "DEMI_LINGER_MS", "0", "DEMI_RECV_SIZE", "4096", "DEMI_RECV_WINDOW", "16",
		"DEMI_RECV_WINDOW_MAX", "256", "DEMI_MAX_MESSAGE", "65536", "DEMI_KEEPALIVE_MS", "500",
		"DEMI_WAIT", "spin", "DEMI_MAX_TOKENS", "1000", "DEMI_LOG", "debug",
		"LIBOS", "catnip", "CONFIG_PATH", "/nonexistent",
	))
	require.NoError(t, err)
	require.Equal(t, 1500*time.Millisecond, c.ConnectTimeout)
	require.Zero(t, c.Linger)
	require.Equal(t, 500*time.Millisecond, c.KeepAlive)
	require.EqualValues(t, 4096, c.RecvSize)
	require.EqualValues(t, 65536, c.MaxMessage)
	require.EqualValues(t, 65536, c.limits(1).MaxMessage)
	require.EqualValues(t, 4080, c.limits(0).MaxMessage, "without RDMA READ there are no large messages")
	require.EqualValues(t, 16, c.DataWindow)
	require.EqualValues(t, 256, c.MaxDataWindow)
	require.Equal(t, datapath.WaitSpin, c.WaitMode)
	require.EqualValues(t, 1000, c.MaxTokens)
	require.True(t, c.Logger.Enabled(context.Background(), slog.LevelDebug))
	for mode, want := range map[string]datapath.WaitMode{"adaptive": datapath.WaitAdaptive, "block": datapath.WaitBlock} {
		c, err = ConfigFromEnv(environment("DEMI_WAIT", mode, "DEMI_LOG", "off"))
		require.NoError(t, err)
		require.Equal(t, want, c.WaitMode)
		require.Nil(t, c.Logger)
	}
}

func TestABadVariableIsOneClearLine(t *testing.T) {
	for name, value := range map[string]string{
		"DEMI_CONNECT_TIMEOUT_MS": "0", "DEMI_LINGER_MS": "-1", "DEMI_RECV_SIZE": "8k", "DEMI_RECV_WINDOW": "0",
		"DEMI_RECV_WINDOW_MAX": "20000", "DEMI_MAX_MESSAGE": "1073741825", "DEMI_KEEPALIVE_MS": "9",
		"DEMI_WAIT": "patiently", "DEMI_MAX_TOKENS": "0", "DEMI_LOG": "loud", "DEMI_METRICS_ADDR": "localhost",
	} {
		_, err := ConfigFromEnv(environment(name, value))
		require.ErrorIs(t, err, syscall.EINVAL, name)
		var ce *ConfigError
		require.ErrorAs(t, err, &ce)
		require.Equal(t, name, ce.Name)
		require.Contains(t, err.Error(), name+`="`+value+`"`)
		require.NotContains(t, err.Error(), "\n")
		require.Contains(t, EnvHelp(), name)
	}
	c, err := ConfigFromEnv(environment("DEMI_KEEPALIVE_MS", "0"))
	require.NoError(t, err)
	require.Zero(t, c.KeepAlive)
	_, err = ConfigFromEnv(environment("DEMI_WAIT", "x", "DEMI_LOG", "y"))
	require.Equal(t, 2, strings.Count(err.Error(), "catmint: "), "all of them are told")
	_, err = ConfigFromEnv(environment("DEMI_RECV_WINDOW", "1000"))
	require.NoError(t, err, "a window that begins beyond its ceiling stays as it is")
}

func TestAConfigThatCannotWorkIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no time to connect":       func(c *Config) { c.ConnectTimeout = 0 },
		"no time to resolve":       func(c *Config) { c.ResolveTimeout = 0 },
		"a negative delay":         func(c *Config) { c.RetryDelay = -1 },
		"a negative linger":        func(c *Config) { c.Linger = -1 },
		"no time to flush":         func(c *Config) { c.FlushTimeout = 0 },
		"a keepalive too short":    func(c *Config) { c.KeepAlive = time.Millisecond },
		"tiny receives":            func(c *Config) { c.RecvSize = 16 },
		"huge receives":            func(c *Config) { c.RecvSize = 1 << 30 },
		"no messages":              func(c *Config) { c.MaxMessage = 0 },
		"huge messages":            func(c *Config) { c.MaxMessage = 1<<30 + 1 },
		"no receives":              func(c *Config) { c.DataWindow = 0 },
		"too few control receives": func(c *Config) { c.CtrlWindow = 3 },
		"a boundless window":       func(c *Config) { c.MaxDataWindow = 1 << 15 },
		"hardly any sends":         func(c *Config) { c.SendDepth = 1 },
		"metrics without a port":   func(c *Config) { c.MetricsAddr = "localhost" },
		"metrics at a named port":  func(c *Config) { c.MetricsAddr = "localhost:http" },
		"a tiny completion queue":  func(c *Config) { c.CQDepth = 8 },
	} {
		t.Run(name, func(t *testing.T) {
			c := DefaultConfig()
			change(&c)
			_, err := New(c, nil)
			require.ErrorIs(t, err, syscall.EINVAL)
			_, err = NewConnector(c, nil)
			require.ErrorIs(t, err, syscall.EINVAL)
		})
	}
}

func TestWithoutEventChannelsThereIsNoEngine(t *testing.T) {
	n := sim.New(sim.Config{RealTime: true})
	h := n.AddHost("a")
	n.When(sim.Call(sim.CallNewEventChannel)).Times(2).Fail(syscall.ENODEV)
	p, err := New(testConfig(), h)
	require.NoError(t, err)
	before := datapath.TakeCensus()
	_, err = p.NewEngine()
	require.ErrorIs(t, err, syscall.ENODEV)
	require.Equal(t, before, datapath.TakeCensus())
	_, err = NewConnector(testConfig(), h)
	require.ErrorIs(t, err, syscall.ENODEV)
	require.NoError(t, p.Close())
	require.NoError(t, n.Close())
}

func TestAnErrorWithoutErrnoIsEIO(t *testing.T) {
	require.Equal(t, syscall.EIO, errno(errors.New("something")))
	require.Equal(t, syscall.ENOMEM, errno(&rdma.OpError{Op: "x", Err: syscall.ENOMEM}))
	require.Zero(t, errno(nil))
}

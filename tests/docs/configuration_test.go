package docs

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/libos"
	"catmint/rdma/sim"
)

// tableRows are the rows of a document's tables: the first cell without its quotes, to the second.
func tableRows(t *testing.T, text string) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_0-9]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(text, -1) {
		require.NotContains(t, rows, m[1], "twice")
		rows[m[1]] = m[2]
	}
	return rows
}

// parts of docs/configuration.md: the variables, and the options.
func parts(t *testing.T) (variables, options map[string]string) {
	t.Helper()
	before, after, found := strings.Cut(read(t, "docs/configuration.md"), "## Socket options")
	require.True(t, found)
	return tableRows(t, before), tableRows(t, after)
}

func TestEveryEnvironmentVariableIsDescribedWithItsDefault(t *testing.T) {
	variables, _ := parts(t)
	help := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(libos.EnvHelp()), "\n") {
		m := regexp.MustCompile(`^ *(\S+) .*\(([^()]*)\)$`).FindStringSubmatch(line)
		require.NotNil(t, m, "a line of help ends with the default: %q", line)
		help[m[1]] = m[2]
	}
	assert.Equal(t, help, variables)
	var warnings bytes.Buffer
	for name := range variables {
		libos.WarnUnknownVariables(&warnings, []string{name + "=1"})
	}
	assert.Empty(t, warnings.String(), "what is described is known")
}

// optionNames are the names of all options that <sys/socket.h> and <netinet/tcp.h> have and
// programs use.
var optionNames = map[string][2]int{
	"SO_LINGER": {unix.SOL_SOCKET, unix.SO_LINGER}, "SO_REUSEADDR": {unix.SOL_SOCKET, unix.SO_REUSEADDR},
	"SO_ACCEPTCONN": {unix.SOL_SOCKET, unix.SO_ACCEPTCONN}, "SO_DOMAIN": {unix.SOL_SOCKET, unix.SO_DOMAIN},
	"SO_TYPE": {unix.SOL_SOCKET, unix.SO_TYPE}, "SO_PROTOCOL": {unix.SOL_SOCKET, unix.SO_PROTOCOL},
	"SO_ERROR": {unix.SOL_SOCKET, unix.SO_ERROR}, "SO_SNDBUF": {unix.SOL_SOCKET, unix.SO_SNDBUF},
	"SO_RCVBUF": {unix.SOL_SOCKET, unix.SO_RCVBUF}, "SO_KEEPALIVE": {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	"SO_REUSEPORT": {unix.SOL_SOCKET, unix.SO_REUSEPORT}, "SO_PRIORITY": {unix.SOL_SOCKET, unix.SO_PRIORITY},
	"TCP_NODELAY": {unix.IPPROTO_TCP, unix.TCP_NODELAY}, "TCP_CORK": {unix.IPPROTO_TCP, unix.TCP_CORK},
	"TCP_QUICKACK": {unix.IPPROTO_TCP, unix.TCP_QUICKACK}, "TCP_KEEPIDLE": {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	"TCP_KEEPINTVL": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, "TCP_KEEPCNT": {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}, "TCP_SYNCNT": {unix.IPPROTO_TCP, unix.TCP_SYNCNT},
	"TCP_DEFER_ACCEPT": {unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT}, "TCP_LINGER2": {unix.IPPROTO_TCP, unix.TCP_LINGER2},
	"TCP_NOTSENT_LOWAT": {unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}, "TCP_WINDOW_CLAMP": {unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP},
	"TCP_THIN_LINEAR_TIMEOUTS": {unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS},
}

// TestEverySocketOptionIsDescribedWithItsDefault asks a fresh socket for every option that
// there could be, by number.
func TestEverySocketOptionIsDescribedWithItsDefault(t *testing.T) {
	network := sim.New(sim.Config{RealTime: true})
	host := network.AddHost("a", sim.DeviceConfig{Name: "sim0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}})
	process, err := libos.New(libos.DefaultConfig(), host)
	require.NoError(t, err)
	engine, err := process.NewEngine()
	require.NoError(t, err)
	socket, err := engine.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, socket.Close())
		require.NoError(t, process.Close())
		require.NoError(t, network.Close())
	}()

	_, described := parts(t)
	names := map[[2]int]string{}
	for name, key := range optionNames {
		names[key] = name
	}
	for _, level := range []int{unix.SOL_SOCKET, unix.IPPROTO_TCP} {
		for number := range 256 {
			value, err := socket.GetOption(level, number)
			if err != nil {
				continue
			}
			name := names[[2]int{level, number}]
			require.NotEmpty(t, name, "level %d, option %d has no name in this test", level, number)
			require.Contains(t, described, name)
			settable := socket.SetOption(level, number, value) == nil
			if d := described[name]; d != "off" && settable {
				assert.Equal(t, fmt.Sprint(int32(value[0])|int32(value[1])<<8|int32(value[2])<<16|int32(value[3])<<24), d, name)
			} else {
				assert.Equal(t, settable, d == "off", "%s can be set", name)
			}
			delete(described, name)
		}
	}
	assert.Empty(t, described, "described, and not there")
}

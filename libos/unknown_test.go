package libos

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func warnings(environ ...string) []string {
	var out bytes.Buffer
	WarnUnknownVariables(&out, environ, "DEMI_FABRIC")
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestAMisspeltVariableIsOneLineThatNamesTheOneThatWasMeant(t *testing.T) {
	for wrong, meant := range map[string]string{
		"DEMI_RECV_SZIE":          "DEMI_RECV_SIZE", // exchanged
		"DEMI_RCV_SIZE":           "DEMI_RECV_SIZE", // left out
		"DEMI_RECV_WINDOWS":       "DEMI_RECV_WINDOW",
		"DEMI_RECV_WINDOW_MX":     "DEMI_RECV_WINDOW_MAX",
		"DEMI_MAX_MASSAGE":        "DEMI_MAX_MESSAGE",
		"DEMI_KEEP_ALIVE_MS":      "DEMI_KEEPALIVE_MS",
		"DEMI_KEEPALIVE":          "DEMI_KEEPALIVE_MS", // without its unit
		"DEMI_CONNECT_TIMEOUT":    "DEMI_CONNECT_TIMEOUT_MS",
		"DEMI_WIAT":               "DEMI_WAIT",
		"DEMI_LGO":                "DEMI_LOG",
		"DEMI_log":                "DEMI_LOG",
		"DEMI_FABRIK":             "DEMI_FABRIC", // of the others
		"DEMI_CONECT_TIMEOUT_SMS": "DEMI_CONNECT_TIMEOUT_MS",
	} {
		want := `catmint: unknown variable "` + wrong + `" is ignored: did you mean ` + meant + "?"
		assert.Equal(t, []string{want}, warnings(wrong+"=7"))
	}
}

func TestAVariableLikeNoOtherIsToldWithoutAGuess(t *testing.T) {
	for _, name := range []string{"DEMI_", "DEMI_PORT", "DEMI_HOT", "DEMI_SERVER_ADDRESS", "DEMI_RECEIVE_BUFFER", "DEMI_A\nB"} {
		lines := warnings(name + "=7")
		require.Len(t, lines, 1, "%q", lines)
		assert.Contains(t, lines[0], "unknown variable")
		assert.NotContains(t, lines[0], "did you mean", name)
	}
}

func TestEveryUnknownVariableIsToldOnceAndInOrder(t *testing.T) {
	lines := warnings("DEMI_TWO=2", "HOME=/", "DEMI_ONE=1", "DEMI_TWO=3")
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0], `"DEMI_ONE"`)
	assert.Contains(t, lines[1], `"DEMI_TWO"`)
}

func TestNoOtherVariableIsWarnedOf(t *testing.T) {
	environ := []string{
		"LIBOS=catnip", "CONFIG_PATH=/etc/demikernel.yaml", "RUST_LOG=trace", "MTU=1500", "MSS=9000", // Demikernel's
		"DEMIKERNEL_PATH=/src", "DEMI=1", "MY_DEMI_LGO=1", "demi_log=1", "PATH=/bin:DEMI_LGO=1", "",
		"DEMI_FABRIC=sim",            // of the others
		"DEMI_RECV_SZIE=", "DEMI_ON", // count as unset
	}
	for _, v := range envVars {
		environ = append(environ, v.name+"=whatever")
	}
	assert.Equal(t, []string{""}, warnings(environ...))
}

func TestSlipsAreCounted(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "acb", 1},
		{"abc", "axc", 1},
		{"abc", "ac", 1},
		{"abc", "abcd", 1},
		{"kitten", "sitting", 3},
		{"ca", "abc", 3},
	} {
		assert.Equal(t, tc.want, slips(tc.a, tc.b), "%q %q", tc.a, tc.b)
	}
}

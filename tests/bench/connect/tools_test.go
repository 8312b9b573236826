package connect

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheTablesOfCMTimeAreRead(t *testing.T) {
	for name, out := range map[string]string{
		"rdma-core 44": `creating id
connecting
step              total ms     max ms     min us ` + ` us / conn
create id    :        0.28       0.07       4.00      14.25
resolve addr :       17.49      12.07    7500.00     874.35
connect      :      123.81     116.23   73608.00    6190.40
`,
		"later": `Connecting
step       us/conn    sum(us)    max(us)    min(us)
create id     :     14.25     285.00      70.00       4.00
resolve addr  :    874.35   17490.00   12070.00    7500.00
connect       :   6190.40  123810.00  116230.00   73608.00
`,
	} {
		t.Run(name, func(t *testing.T) {
			f, err := readCMTime(strings.NewReader(out))
			require.NoError(t, err)
			assert.InDeltaMapValues(t, figures{"create id": 14250, "resolve addr": 874350, "connect": 6190400}, f, 1)
			assert.InDelta(t, 6204650, f.sum("create id", "connect"), 1)
		})
	}
}

func TestWhatIsNoTableOfCMTimeIsAnError(t *testing.T) {
	for _, out := range []string{
		"", "cmtime: rdma_bind_addr: Address already in use\n",
		"step us / conn\ncreate id : 1.0\n", // no connect
		"step total ms us / conn\nconnect : 1.0\n",
		"step us / conn\nconnect : 1.0.0\n",
	} {
		_, err := readCMTime(strings.NewReader(out))
		require.Error(t, err, out)
	}
}

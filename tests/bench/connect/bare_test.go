package connect

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/libos"
)

// What libos is compared with has queues as long, and as many receives posted.
func TestLibrdmacmAloneAsksForWhatLibosAsksFor(t *testing.T) {
	source, err := os.ReadFile("testdata/bare.c")
	require.NoError(t, err)
	c := libos.DefaultConfig()
	for name, want := range map[string]int{
		"RECEIVES": int(c.DataWindow + c.CtrlWindow), "RECV_SIZE": int(c.RecvSize),
		"SEND_DEPTH": int(c.SendDepth), "RECV_DEPTH": int(c.MaxDataWindow + c.CtrlWindow),
		"INLINE_DATA": int(c.MaxInline), "CQ_DEPTH": c.CQDepth,
	} {
		m := regexp.MustCompile(`(?m)^ *` + name + ` = (\d+),$`).FindSubmatch(source)
		require.NotNil(t, m, name)
		assert.Equal(t, strconv.Itoa(want), string(m[1]), name)
	}
}

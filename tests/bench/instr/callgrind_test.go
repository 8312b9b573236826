package instr

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestADumpIsReadWithItsAbbreviationsAndWithoutTheCostOfCallees(t *testing.T) {
	p, err := parseProfile(strings.NewReader(`# callgrind format
version: 1
events: Ir
summary: 42

ob=(1) /bin/program
fl=(1) send.c
fn=(1) dp_push
10 30
+3 5
cfn=(2) arena_hold
calls=2 17
* 900
fn=(2)
fi=(3) arena.h
20 4
-2 3
`))
	require.NoError(t, err)
	assert.Equal(t, map[string]uint64{"dp_push": 35, "arena_hold": 7}, p.functions)
	assert.Equal(t, uint64(42), p.total)
}

func TestADumpThatIsNoneIsAnError(t *testing.T) {
	_, err := parseProfile(strings.NewReader("10 many\n"))
	assert.Error(t, err)
}

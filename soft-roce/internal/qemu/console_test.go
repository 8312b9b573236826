package qemu

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConsoleDropsWhatOnlyTerminalsUnderstand(t *testing.T) {
	raw := "\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\n\tok\x00\x1b[1;31mred\x1b"
	assert.Equal(t, "SeaBIOS\n\tokred", clean([]byte(raw)))
	assert.Empty(t, clean([]byte("\x1b[12")), "a sequence that is cut off")
}

func TestConsoleKeepsTheEnd(t *testing.T) {
	c := newConsole(strings.NewReader(strings.Repeat("x", 3*consoleKeep)+"end"), nil)
	<-c.done
	assert.Len(t, c.Text(), consoleKeep)
	assert.True(t, strings.HasSuffix(c.Text(), "xend"))
	assert.Equal(t, 3*consoleKeep+3, c.Written())
}

func TestConsoleGoesOnWhenItsCopyFails(t *testing.T) {
	r, w := io.Pipe()
	require.NoError(t, r.Close())
	c := newConsole(strings.NewReader("text"), w)
	<-c.done
	assert.Equal(t, "text", c.Text())
}

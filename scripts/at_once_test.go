package scripts

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommandsAtOnceFailIfOneDoes(t *testing.T) {
	for _, c := range []struct {
		commands []string
		out      string
		fails    bool
	}{
		{[]string{"echo first"}, "first\n", false},
		{[]string{"echo first", "echo second", "echo third"}, "first\nsecond\nthird\n", false},
		{[]string{"false", "echo second"}, "second\n", true},
		{[]string{"echo first", "sh -c 'echo second; exit 3'", "echo third"}, "first\nsecond\nthird\n", true},
		{[]string{"echo first", "sh -c 'echo wrong >&2; kill -9 $$'"}, "first\nwrong\n", true},
	} {
		out, err := exec.Command("./at-once.sh", c.commands...).CombinedOutput()
		require.Equal(t, c.out, string(out), "%q", c.commands)
		require.Equal(t, c.fails, err != nil, "%q: %v", c.commands, err)
	}
}

// They run at the same time: each of two waits for the other.
func TestCommandsAtOnceRunAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, exec.Command("mkfifo", dir+"/pipe").Run())
	out, err := exec.Command("./at-once.sh", "cat "+dir+"/pipe", "sh -c 'echo met >"+dir+"/pipe'").CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "met\n", string(out))
}

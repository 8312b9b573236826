package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows.txt lists the rows of the API and the cases that show them: each row has one, and each case
// exists.
func TestEveryRowOfTheAPIHasACase(t *testing.T) {
	dir := folder(t)
	cmd := exec.Command(filepath.Join(dir, "conformance"), "cases")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir)
	out, err := cmd.Output()
	require.NoError(t, err)
	exists := map[string]bool{}
	for _, c := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		require.False(t, exists[c], "two cases are called %q", c)
		exists[c] = true
	}
	for _, name := range testNames(t) {
		exists[name] = true
	}

	text, err := os.ReadFile("rows.txt")
	require.NoError(t, err)
	row, cases, rows := "", 1, 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			cases++
			require.True(t, exists[line[1:]], "row %q: no case is called %q", row, line[1:])
		default:
			require.Positive(t, cases, "row %q has no case", row)
			row, cases = line, 0
			rows++
		}
	}
	require.Positive(t, cases, "row %q has no case", row)
	t.Logf("%d rows", rows)
}

// testNames are the tests of this folder, those for Soft-RoCE included.
func testNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "func Test"); ok {
				name, _, _ = strings.Cut(name, "(")
				names = append(names, "Test"+name)
			}
		}
	}
	return names
}

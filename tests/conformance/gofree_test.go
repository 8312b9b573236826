package conformance

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What happens once per message never enters Go.
var dataPlane = []string{
	"demi_pop", "demi_push", "demi_pushto", "demi_sgaalloc", "demi_sgafree",
	"demi_wait", "demi_wait_any", "demi_wait_next_n",
}

// cgo's way from C into Go: each export is a C function that calls crosscall2.
const intoGo = "crosscall2"

var (
	functionLine = regexp.MustCompile(`^[0-9a-f]+ <(.+)>:$`)
	// A direct call, jump (a tail call, or one inside the function) or address taken.
	targetOf = regexp.MustCompile(`<([^>+]+)(?:\+0x[0-9a-f]+)?>`)
)

// references maps each function of the library to the functions that its code names: calls,
// tail calls and addresses taken.
func references(t *testing.T, library string) map[string]map[string]bool {
	t.Helper()
	cmd := exec.Command("objdump", "-d", "--no-show-raw-insn", "-j", ".text", library)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	refs := make(map[string]map[string]bool)
	var current map[string]bool
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := functionLine.FindStringSubmatch(line); m != nil {
			if refs[m[1]] == nil {
				refs[m[1]] = make(map[string]bool)
			}
			current = refs[m[1]]
			continue
		}
		if m := targetOf.FindStringSubmatch(line); m != nil && current != nil {
			current[strings.TrimSuffix(m[1], "@plt")] = true
		}
	}
	require.NoError(t, lines.Err())
	require.NoError(t, cmd.Wait())
	return refs
}

// pathIntoGo finds a way from a function into Go, nil if there is none.
func pathIntoGo(refs map[string]map[string]bool, from string) []string {
	came := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == intoGo {
			var path []string
			for f := intoGo; f != ""; f = came[f] {
				path = append(path, f)
			}
			slices.Reverse(path)
			return path
		}
		for f := range refs[queue[0]] {
			if _, seen := came[f]; !seen {
				came[f] = queue[0]
				queue = append(queue, f)
			}
		}
	}
	return nil
}

func TestCallsOfTheDataPlaneNeverEnterGo(t *testing.T) {
	refs := references(t, filepath.Join(folder(t), "libdemikernel.so.1"))
	require.Contains(t, refs, intoGo)
	for _, f := range dataPlane {
		require.Contains(t, refs, f)
		require.Empty(t, pathIntoGo(refs, f), "%s enters Go", f)
	}
	// The method sees a call into Go where there is one.
	require.NotEmpty(t, pathIntoGo(refs, "demi_connect"))
	require.NotEmpty(t, pathIntoGo(refs, "demi_close"))
}

// Calls through pointers (verbs, the slow operations) cannot be followed by name. They do
// not lead into Go because no C function whose address could be in such a table does.
func TestOnlyTheControlPlanesShimsLeadIntoGo(t *testing.T) {
	refs := references(t, filepath.Join(folder(t), "libdemikernel.so.1"))
	var unexpected [][]string
	for f := range refs {
		// Go's own functions have a package, or no letters, in their names.
		if strings.ContainsAny(f, "./:*(") || slices.Contains(functions, f) || f == intoGo {
			continue
		}
		path := pathIntoGo(refs, f)
		if path == nil || slices.ContainsFunc(mayEnterGo, func(prefix string) bool { return strings.HasPrefix(f, prefix) }) {
			continue
		}
		unexpected = append(unexpected, path)
	}
	require.Empty(t, unexpected)
}

// What leads into Go besides the demi_* functions: our exports, the exit handler, and cgo's
// own machinery.
var mayEnterGo = []string{
	"catmint_go_", "deliver_at_exit", "install_exit_handler", "crosscall2", "_cgoexp_", "_cgo_", "x_cgo_", "_rt0_", "runtime",
}

package conformance

import (
	"bufio"
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

// references maps each function of the library to the functions that its code names: calls,
// tail calls and addresses taken. Read once for all tests, as the disassembly is long.
var references = sync.OnceValues(func() (map[string]map[string]bool, error) {
	cmd := exec.Command("objdump", "-d", "--no-show-raw-insn", "-j", ".text", filepath.Join(built.dir, "libdemikernel.so.1"))
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	refs := make(map[string]map[string]bool)
	var current map[string]bool
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		open := bytes.IndexByte(line, '<')
		if open < 0 {
			continue
		}
		name, after, ok := bytes.Cut(line[open+1:], []byte{'>'})
		switch {
		case !ok:
		case string(after) == ":" && line[0] != ' ': // where a function begins
			if refs[string(name)] == nil {
				refs[string(name)] = make(map[string]bool)
			}
			current = refs[string(name)]
		case current != nil: // a call, a jump or an address: <function> or <function+0x40>
			name, _, _ = bytes.Cut(name, []byte("+0x"))
			current[strings.TrimSuffix(string(name), "@plt")] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return refs, cmd.Wait()
})

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
	folder(t)
	refs, err := references()
	require.NoError(t, err)
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
	folder(t)
	refs, err := references()
	require.NoError(t, err)
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

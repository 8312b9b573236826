//go:build rdma

package docs

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheExamplesGetTheirEcho runs the programs of the README against rping-demi, as it says.
func TestTheExamplesGetTheirEcho(t *testing.T) {
	addr := os.Getenv("SOFT_ROCE_ADDR")
	require.NotEmpty(t, addr, "run by soft-roce test")
	build := filepath.Join(root, "build")
	for _, program := range []string{"hello", "hello-go", "hello-conn"} {
		t.Run(program, func(t *testing.T) {
			require.FileExists(t, filepath.Join(build, program), "run make build before")
			server := exec.CommandContext(t.Context(), filepath.Join(build, "rping-demi"), "-s", "-a", addr)
			stdout, err := server.StdoutPipe()
			require.NoError(t, err)
			server.Stderr = os.Stderr
			require.NoError(t, server.Start())
			lines := bufio.NewScanner(stdout)
			listening := false
			for !listening && lines.Scan() {
				listening = strings.Contains(lines.Text(), "listening on")
			}
			require.True(t, listening, "the server ended")

			out, err := exec.CommandContext(t.Context(), filepath.Join(build, program), addr).CombinedOutput()
			require.NoError(t, err, "%s", out)
			assert.Equal(t, "echoed: hello\n", string(out))
			for lines.Scan() {
				t.Log(lines.Text())
			}
			require.NoError(t, server.Wait())
		})
	}
}

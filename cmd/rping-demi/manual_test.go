package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestManualAndCompletionsHaveEveryFlag(t *testing.T) {
	for _, file := range []string{"../../docs/rping-demi.1", "completion/rping-demi.bash", "completion/_rping-demi"} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(b), `\-`, "-")
		new(commandLine).flags().VisitAll(func(f *pflag.Flag) {
			assert.Contains(t, text, "--"+f.Name, file)
			if f.Shorthand != "" && !strings.HasSuffix(file, ".bash") {
				assert.Contains(t, text, "-"+f.Shorthand, file)
			}
		})
	}
}

func TestBashCompletesFlagsAndValues(t *testing.T) {
	for line, want := range map[string]string{
		"rping-demi --mo": "--mode", "rping-demi --mode b": "bandwidth", "rping-demi --protocol rp": "rping",
	} {
		words := strings.Fields(line)
		script := `. completion/rping-demi.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rping_demi; echo "${COMPREPLY[@]}"`
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{"-c", script, "bash"}, words...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Equal(t, want, strings.TrimSpace(string(out)))
	}
}

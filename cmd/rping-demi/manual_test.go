package main

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
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

func TestTheManualNamesEveryMemberOfJSON(t *testing.T) {
	b, err := os.ReadFile("../../docs/rping-demi.1")
	require.NoError(t, err)
	for _, of := range []reflect.Type{reflect.TypeFor[report](), reflect.TypeFor[times]()} {
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			assert.Regexp(t, `(?m)^\.IR? `+name+`\b`, string(b))
		}
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

// Where man(1), bash and zsh look for them.
func TestMakeInstallInstallsManualAndCompletions(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "make", "--dry-run", "install", "DESTDIR=/dest", "PREFIX=/usr")
	cmd.Dir = "../.."
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") && !strings.HasPrefix(v, "MFLAGS") { // of a make that runs this test
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	script := strings.ReplaceAll(string(out), "\\\n", "")
	for source, place := range map[string]string{
		"docs/rping-demi.1":                         "share/man/man1/rping-demi.1",
		"cmd/rping-demi/completion/rping-demi.bash": "share/bash-completion/completions/rping-demi",
		"cmd/rping-demi/completion/_rping-demi":     "share/zsh/site-functions/_rping-demi",
	} {
		assert.FileExists(t, "../../"+source)
		assert.Regexp(t, `(?m)^install .*`+regexp.QuoteMeta(source)+`\s+/dest/usr/`+regexp.QuoteMeta(place)+`$`, script)
	}
}

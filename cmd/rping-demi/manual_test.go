package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
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

// zsh itself reads the completion; what it would complete is what it hands to _arguments.
func TestZshReadsTheCompletionOfEveryFlag(t *testing.T) {
	script := `_arguments() { print -rl -- "$@" }; . completion/_rping-demi`
	out, err := exec.CommandContext(t.Context(), "zsh", "-f", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s (zsh is installed by make setup)", out)
	specs := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Equal(t, "-s", specs[0])
	new(commandLine).flags().VisitAll(func(f *pflag.Flag) {
		for _, name := range []string{"--" + f.Name, "-" + f.Shorthand} {
			one := regexp.MustCompile(`^(\([^)]*\))?` + regexp.QuoteMeta(name) + `\[[^\]]+\]`)
			assert.True(t, name == "-" || slices.ContainsFunc(specs, one.MatchString), "%s in %q", name, specs)
		}
	})
}

func TestTheManualIsWellFormed(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "groff", "-man", "-Tutf8", "-ww", "../../docs/rping-demi.1")
	var warnings strings.Builder
	cmd.Stderr = &warnings
	text, err := cmd.Output()
	require.NoError(t, err, "%s (groff is installed by make setup)", warnings.String())
	assert.Empty(t, warnings.String())
	assert.Contains(t, string(text), "rping-demi - check an RDMA link")
}

// Where man(1), bash and zsh look for them. The long form installs; the short one looks at what
// would be done.
func TestMakeInstallInstallsProgramManualAndCompletions(t *testing.T) {
	dest := t.TempDir()
	args := []string{"install", "DESTDIR=" + dest, "PREFIX=/usr", "CATMINT_SKIP_SETUP=1"}
	if testing.Short() {
		args = append(args, "--dry-run")
	}
	cmd := exec.CommandContext(t.Context(), "make", args...)
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
		"build/rping-demi":                          "bin/",
	} {
		assert.Regexp(t, `(?m)^install .*`+regexp.QuoteMeta(source)+`\s+`+regexp.QuoteMeta(dest+"/usr/"+place)+`$`, script)
		if testing.Short() {
			continue
		}
		if strings.HasSuffix(place, "/") {
			place += filepath.Base(source)
		}
		want, err := os.ReadFile("../../" + source)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dest, "usr", place))
		require.NoError(t, err)
		assert.Equal(t, want, got, place)
	}
	if !testing.Short() {
		help, err := exec.CommandContext(t.Context(), filepath.Join(dest, "usr/bin/rping-demi"), "--help").Output()
		require.NoError(t, err)
		assert.Contains(t, string(help), "rping-demi --server")
	}
}

package headers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath, Name, Dir                         string
	GoFiles, CgoFiles, CFiles, HFiles, EmbedFiles []string
	Imports, CgoCFLAGS                            []string
	Module                                        struct{ Path, Dir string }
	headers                                       map[string]bool // of other folders, absolute paths
}

func (p *pkg) usesC() bool { return len(p.CgoFiles) > 0 }

// packages lists the packages of the module that the test is in.
func packages(t *testing.T) []*pkg {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(goTool(t, "../..", "list", "-json", "./...")))
	var all []*pkg
	for {
		p := &pkg{headers: map[string]bool{}}
		err := dec.Decode(p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		if p.usesC() {
			p.findHeaders(t)
		}
		all = append(all, p)
	}
}

func goTool(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_CFLAGS=-O0", "PWD=") // quick to compile
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go %s\n%s", strings.Join(args, " "), &stderr)
	return out
}

// include matches the directive in C, and in the comment above import "C".
var include = regexp.MustCompile(`(?m)^\s*(?://)?\s*#\s*include\s+["<]([^">]+)[">]`)

// findHeaders follows the includes of a package's C to all headers of this module.
func (p *pkg) findHeaders(t *testing.T) {
	t.Helper()
	seen := map[string]bool{}
	var follow func(file string)
	follow = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range include.FindAllStringSubmatch(string(text), -1) {
			if h := p.resolve(filepath.Dir(file), m[1]); h != "" {
				if filepath.Dir(h) != p.Dir {
					p.headers[h] = true
				}
				follow(h)
			}
		}
	}
	for _, name := range append(append([]string{}, p.CgoFiles...), p.CFiles...) {
		follow(filepath.Join(p.Dir, name))
	}
}

// resolve finds a header of this module as the compiler would, or returns "".
func (p *pkg) resolve(from, name string) string {
	dirs := []string{from}
	for _, flag := range p.CgoCFLAGS {
		if dir, ok := strings.CutPrefix(flag, "-I"); ok {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		h := filepath.Join(dir, name)
		if _, err := os.Stat(h); err == nil && strings.HasPrefix(h, p.Module.Dir+string(filepath.Separator)) {
			return h
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
	}
	return ""
}

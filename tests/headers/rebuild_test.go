package headers_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// users lists who includes each header of another folder: import paths, by its path in the module.
func users(t *testing.T, all []*pkg) map[string][]*pkg {
	t.Helper()
	users := map[string][]*pkg{}
	for _, p := range all {
		for h := range p.headers {
			rel, err := filepath.Rel(p.Module.Dir, h)
			require.NoError(t, err)
			users[rel] = append(users[rel], p)
		}
	}
	for _, known := range []string{"include/demi/types.h", "qtoken/qtoken.h", "rdma/slowops.h", "datapath/process.h"} {
		require.NotEmpty(t, users[known], "the test no longer sees who includes %s", known)
	}
	return users
}

// TestWhoIncludesAHeaderImportsThePackageThatEmbedsIt holds everybody to the convention.
//
// The import has to be direct. If a imports b and b imports the package that embeds the
// header, then an edit rebuilds b; but if that gives the same b, Go does not rebuild a.
func TestWhoIncludesAHeaderImportsThePackageThatEmbedsIt(t *testing.T) {
	all := packages(t)
	embeds := map[string]string{} // header, relative to the module: import path
	for _, p := range all {
		for _, name := range p.EmbedFiles {
			rel, err := filepath.Rel(p.Module.Dir, filepath.Join(p.Dir, name))
			require.NoError(t, err)
			embeds[rel] = p.ImportPath
		}
	}
	for header, users := range users(t, all) {
		for _, user := range users {
			if assert.Contains(t, embeds, header, "%s includes it, but no package embeds it", user.ImportPath) {
				assert.Contains(t, user.Imports, embeds[header], "%s includes %s", user.ImportPath, header)
			}
		}
	}
}

// TestAnEditedHeaderRebuildsWhatIncludesIt sees that the convention does what it is for. It edits,
// in a copy of the module, each header that a package of another folder includes (in short form one
// of each folder), and asks Go to build. So that this takes seconds, the packages of the copy are
// hollow: the same imports, the files that embed headers, and of the C nothing but the includes.
// What Go's cache goes by is all there.
func TestAnEditedHeaderRebuildsWhatIncludesIt(t *testing.T) {
	all := packages(t)
	root := t.TempDir()
	hollow(t, root, all)

	// The half that Go looks after by itself; and IDs do tell an edit from none.
	const owner = "catmint/datapath"
	before := buildIDs(t, root)
	require.Equal(t, before, buildIDs(t, root), "nothing edited, nothing rebuilt")
	edit(t, filepath.Join(root, "datapath", "datapath.h"))
	after := buildIDs(t, root)
	assert.NotEqual(t, before[owner], after[owner])
	assert.Equal(t, before["catmint/qtoken"], after["catmint/qtoken"])

	users := users(t, all)
	seen := map[string]bool{}
	before = after
	for _, header := range slices.Sorted(maps.Keys(users)) {
		if testing.Short() && seen[filepath.Dir(header)] {
			continue
		}
		seen[filepath.Dir(header)] = true
		edit(t, filepath.Join(root, header))
		after = buildIDs(t, root)
		for _, user := range users[header] {
			assert.NotEqual(t, before[user.ImportPath], after[user.ImportPath],
				"%s includes %s, but an edit of it does not rebuild the package: import the package that embeds the header",
				user.ImportPath, header)
		}
		before = after
	}
}

func edit(t *testing.T, header string) {
	t.Helper()
	f, err := os.OpenFile(header, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = fmt.Fprintln(f, "/* edited */")
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// buildIDs builds every package and returns Go's ID of each result: another ID, another
// build.
func buildIDs(t *testing.T, root string) map[string]string {
	t.Helper()
	out := goTool(t, root, "list", "-export", "-f", "{{.ImportPath}} {{.BuildID}}", "./...")
	ids := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, id, ok := strings.Cut(strings.TrimSpace(line), " ")
		require.True(t, ok && id != "", "go list: %q", line)
		ids[path] = id
	}
	return ids
}

// hollow writes the module's copy to root.
func hollow(t *testing.T, root string, all []*pkg) {
	t.Helper()
	module := all[0].Module
	write(t, filepath.Join(root, "go.mod"), fmt.Sprintf("module %s\n\ngo 1.26\n", module.Path))
	for _, p := range all {
		rel, err := filepath.Rel(module.Dir, p.Dir)
		require.NoError(t, err)
		dir := filepath.Join(root, rel)
		for _, name := range append(append([]string{}, p.HFiles...), p.EmbedFiles...) {
			copyFile(t, filepath.Join(p.Dir, name), filepath.Join(dir, name))
		}
		for _, name := range p.GoFiles {
			if embeds(t, filepath.Join(p.Dir, name)) {
				copyFile(t, filepath.Join(p.Dir, name), filepath.Join(dir, name))
			}
		}
		write(t, filepath.Join(dir, "hollow.go"), p.source(root))
	}
}

// embeds tells whether a Go file embeds something. Such files hold nothing else.
func embeds(t *testing.T, path string) bool {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.Contains(string(text), "\n//go:embed ")
}

// source is what a hollow package has besides: its imports and includes.
func (p *pkg) source(root string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n\n", p.Name)
	if p.usesC() {
		for _, h := range slices.Sorted(maps.Keys(p.headers)) {
			rel, _ := filepath.Rel(p.Module.Dir, h)
			fmt.Fprintf(&b, "// #include %q\n", filepath.Join(root, rel))
		}
		fmt.Fprint(&b, "import \"C\"\n\n")
	}
	for _, path := range p.Imports {
		if strings.HasPrefix(path, p.Module.Path+"/") {
			fmt.Fprintf(&b, "import _ %q\n", path)
		}
	}
	if p.Name == "main" {
		fmt.Fprint(&b, "\nfunc main() {}\n")
	}
	return b.String()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	write(t, to, string(text))
}

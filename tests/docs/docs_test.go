package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// root is the top of the source tree, seen from this package.
const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(b)
}

// block is README's only fenced block in a language that contains mark.
func block(t *testing.T, language, mark string) string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1) {
		if strings.Contains(m[1], mark) {
			found = append(found, m[1])
		}
	}
	require.Len(t, found, 1, "%s blocks with %q", language, mark)
	return found[0]
}

func TestTheProgramsOfTheREADMEAreTheExamples(t *testing.T) {
	assert.Equal(t, withoutTitle(read(t, "examples/c/hello.c")), block(t, "c", "demi_connect"))
	assert.Equal(t, withoutTitle(read(t, "examples/go/hello/main.go")), block(t, "go", "libos.New"))
	assert.Equal(t, withoutTitle(read(t, "examples/go/hello-conn/main.go")), block(t, "go", "rdmanet.Dial"))
}

// withoutTitle is a source without the comment in its first line.
func withoutTitle(source string) string {
	_, rest, _ := strings.Cut(source, "\n")
	return rest
}

func TestEveryLinkOfTheDocumentsLeadsToAFile(t *testing.T) {
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	for _, doc := range append(docs, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"),
		filepath.Join(root, "soft-roce", "README.md")) {
		b, err := os.ReadFile(doc)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			assert.FileExists(t, linked(filepath.Join(filepath.Dir(doc), m[1])), "%s links to %s", doc, m[1])
		}
	}
}

// linked is the path that a link leads to; for a folder, something that is in it.
func linked(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
			return filepath.Join(path, entries[0].Name())
		}
	}
	return path
}

func TestEveryMakeTargetThatADocumentNamesExists(t *testing.T) {
	makefile := read(t, "Makefile")
	for _, doc := range []string{"README.md", "CONTRIBUTING.md", "soft-roce/README.md"} {
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(read(t, doc), -1) {
			assert.Regexp(t, `(?m)^`+regexp.QuoteMeta(m[1])+`:`, makefile, "%s names make %s", doc, m[1])
		}
	}
}

func TestTheREADMEShowsWhatTheDemoPrints(t *testing.T) {
	shown := block(t, "text", "intact")
	for _, want := range []string{
		"device rxe0", "address resolved", "route resolved", "QP ready", "established",
		"ping data: rdma-ping-0: ABC", "10 pings of 64 bytes: 10 intact, 0 lost", "round trip: min",
	} {
		assert.Contains(t, shown, want)
	}
}

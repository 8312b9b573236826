package conformance

import (
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The binary interface: CONFORMANCE and include/demi.
var functions = []string{
	"demi_accept", "demi_bind", "demi_close", "demi_connect", "demi_getpeername",
	"demi_getsockname", "demi_getsockopt", "demi_init", "demi_listen", "demi_pop", "demi_push",
	"demi_pushto", "demi_setsockopt", "demi_sgaalloc", "demi_sgafree", "demi_socket",
	"demi_wait", "demi_wait_any", "demi_wait_next_n",
}

const root = "../.."

// built is a folder with the library, the suite and the examples, made once for all tests.
// The library is that of users but for one thing: with DEMI_FABRIC=sim in the environment it
// runs on a simulated device (the tag demisim). One more build would take as long again.
var built struct {
	once sync.Once
	dir  string
	err  error
	out  []byte
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// folder returns the folder with what was built from this tree, as `make build` builds.
func folder(t *testing.T) string {
	t.Helper()
	built.once.Do(makeAll)
	require.NoError(t, built.err, "%s", built.out)
	return built.dir
}

// makeAll builds into a folder that outlives the test that asked first; TestMain removes it.
func makeAll() {
	if built.dir, built.err = os.MkdirTemp("", "conformance"); built.err != nil {
		return
	}
	if built.err = readSources(); built.err != nil {
		return
	}
	for _, step := range [][]string{{"build-lib.sh", "-tags", "demisim"}, {"build-conformance.sh"}, {"build-examples.sh"}} {
		cmd := exec.Command(filepath.Join(root, "scripts", step[0]), step[1:]...)
		cmd.Env = append(os.Environ(), "OUT="+built.dir)
		if built.out, built.err = cmd.CombinedOutput(); built.err != nil {
			return
		}
	}
}

// readSources reads everything that the library and the programs are made of: go test does not see
// what scripts read, and would answer from its cache when a source has changed.
func readSources() error {
	for _, dir := range []string{
		"cmd/libdemikernel", "datapath", "examples/c", "include", "internal", "libos", "qtoken", "rdma", "scripts", "tests/conformance",
	} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			switch filepath.Ext(path) {
			case ".c", ".h", ".go", ".sh":
				_, err = os.ReadFile(path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkLibrary checks what the linker makes of the library in a folder.
func checkLibrary(t *testing.T, dir string) {
	t.Helper()
	f, err := elf.Open(filepath.Join(dir, "libdemikernel.so.1"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })

	symbols, err := f.DynamicSymbols()
	require.NoError(t, err)
	var exported []string
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF && elf.ST_BIND(s.Info) != elf.STB_LOCAL {
			exported = append(exported, s.Name)
		}
	}
	slices.Sort(exported)
	require.Equal(t, functions, exported)
	require.Len(t, exported, 19)

	soname, err := f.DynString(elf.DT_SONAME)
	require.NoError(t, err)
	require.Equal(t, []string{"libdemikernel.so.1"}, soname)
	needed, err := f.DynString(elf.DT_NEEDED)
	require.NoError(t, err)
	allowed := []string{"libibverbs.so.1", "librdmacm.so.1", "libc.so.6", "ld-linux-x86-64.so.2", "libresolv.so.2"}
	require.Subset(t, allowed, needed, "no more than what RDMA programs need")

	link, err := os.Readlink(filepath.Join(dir, "libdemikernel.so"))
	require.NoError(t, err)
	require.Equal(t, "libdemikernel.so.1", link)
}

func TestTheLibraryExportsDemikernelsFunctionsAndNothingElse(t *testing.T) {
	checkLibrary(t, folder(t))
}

// A C++ program that includes every header, built as a user would and run.
func TestHeadersServeCXXPrograms(t *testing.T) {
	dir := folder(t)
	for _, std := range []string{"c++11", "c++20"} {
		bin := filepath.Join(t.TempDir(), "headers")
		out, err := exec.Command("c++", "-std="+std, "-Wall", "-Wextra", "-Werror", "-pedantic",
			"-I"+filepath.Join(root, "include"), "programs/headers.cc", "-L"+dir, "-ldemikernel", "-o", bin).CombinedOutput()
		require.NoError(t, err, "%s: %s", std, out)
		cmd := exec.Command(bin)
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir)
		out, err = cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", std, out)
	}
}

// Each header by itself, in each dialect of C from C99 on.
func TestEachHeaderServesCPrograms(t *testing.T) {
	headers, err := filepath.Glob(filepath.Join(root, "include", "demi", "*.h"))
	require.NoError(t, err)
	require.Len(t, headers, 5)
	for _, h := range headers {
		for _, std := range []string{"c99", "gnu99", "c11", "c17", "c2x"} {
			cmd := exec.Command("cc", "-std="+std, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
				"-I"+filepath.Join(root, "include"), "-x", "c", "-")
			name := filepath.Base(h)
			cmd.Stdin = strings.NewReader("#include <demi/" + name + ">\n#include <demi/" + name + ">\nint main(void) { return 0; }\n")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s, %s: %s", name, std, out)
		}
	}
}

func TestAnUninstalledPkgConfigFileNamesTheLibrary(t *testing.T) {
	pc, err := os.ReadFile(filepath.Join(folder(t), "demikernel.pc"))
	require.NoError(t, err)
	require.Contains(t, string(pc), "-ldemikernel")
	require.NotContains(t, string(pc), "@")
}

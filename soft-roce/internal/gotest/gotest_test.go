package gotest_test

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
	"catmint/soft-roce/internal/gotest"
)

// module makes a module with packages of every kind and goes there.
func module(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{
		"go.mod":              "module example\n\ngo 1.26\n",
		"plain/plain.go":      "package plain\n",
		"plain/plain_test.go": "package plain\n\nimport \"testing\"\n\nfunc TestPlain(t *testing.T) {}\n",
		"mixed/mixed.go":      "package mixed\n",
		"mixed/fast_test.go":  "package mixed\n\nimport \"testing\"\n\nfunc TestFast(t *testing.T) {}\n",
		"mixed/slow_test.go": `//go:build rdma

package mixed

import "testing"

func TestMain(m *testing.M) { m.Run() }

func TestDevice(t *testing.T)      {}
func TestDeviceToo(t *testing.T)   {}
func Testify(t *testing.T)         {}
func BenchmarkDevice(b *testing.B) {}
func FuzzDevice(f *testing.F)      {}
func helper()                      {}

type T struct{}

func (T) TestMethod() {}
`,
		"mixed/outside_test.go": "//go:build rdma\n\npackage mixed_test\n\nfunc ExampleX() {}\n",
		"only/only_test.go":     "//go:build rdma\n\npackage only\n\nimport \"testing\"\n\nfunc TestOnly(t *testing.T) {}\n",
		"broken/broken_test.go": "//go:build rdma\n\npackage broken\n\nimport \"testing\"\n\nfunc TestBroken(t *testing.T) { x }\n",
	} {
		fake.Write(t, filepath.Join(dir, path), text)
	}
	t.Chdir(dir)
}

func TestOnlyTestsThatNeedTheTagAreFound(t *testing.T) {
	module(t)
	list, err := gotest.List(t.Context(), "rdma", []string{"./mixed"}, false)
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, "example/mixed", list[0].ImportPath)
	assert.ElementsMatch(t, []string{"TestDevice", "TestDeviceToo", "FuzzDevice", "ExampleX"}, list[0].Tests)
	assert.Equal(t, []string{"BenchmarkDevice"}, list[0].Benchmarks)
}

func TestAPackageWithoutTaggedTestsIsAnErrorUnlessPassedOver(t *testing.T) {
	module(t)
	_, err := gotest.List(t.Context(), "rdma", []string{"./plain"}, false)
	var none *gotest.NoTestsError
	require.ErrorAs(t, err, &none)
	assert.Equal(t, "example/plain: no tests with the build tag rdma", none.Error())

	list, err := gotest.List(t.Context(), "rdma", []string{"./plain", "./mixed", "./only"}, true)
	require.NoError(t, err)
	assert.Len(t, list, 2)
}

func TestPackagesThatDoNotExistAreErrors(t *testing.T) {
	module(t)
	_, err := gotest.List(t.Context(), "rdma", []string{"./nowhere"}, true)
	require.ErrorContains(t, err, "nowhere")
	fake.Write(t, "mixed/damaged_test.go", "//go:build rdma\n\npackage mixed\n\nfunc {")
	_, err = gotest.List(t.Context(), "rdma", []string{"./mixed"}, true)
	require.ErrorContains(t, err, "damaged_test.go")
	fake.Programs(t, map[string]string{"go": "echo broken >&2; exit 1"})
	_, err = gotest.List(t.Context(), "rdma", []string{"./mixed"}, true)
	require.ErrorContains(t, err, "broken")
	fake.Programs(t, map[string]string{"go": "echo {"})
	_, err = gotest.List(t.Context(), "rdma", []string{"./mixed"}, true)
	require.ErrorContains(t, err, "go list")
}

func TestBinariesAreCompiledWithTheTagAndRun(t *testing.T) {
	module(t)
	list, err := gotest.List(t.Context(), "rdma", []string{"./only", "./broken"}, false)
	require.NoError(t, err)
	binaries, errs := gotest.Compile(t.Context(), t.TempDir(), "rdma", list, 2)
	require.Len(t, binaries, 2)
	for i, b := range binaries {
		var broken *gotest.CompileError
		if b.Package.ImportPath == "example/broken" {
			require.ErrorAs(t, errs[i], &broken)
			assert.Contains(t, broken.Error(), "undefined: x")
			continue
		}
		require.NoError(t, errs[i])
		argv := gotest.Options{Timeout: time.Minute, Verbose: true}.Command(b)
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = b.Package.Dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "--- PASS: TestOnly")
	}
}

func TestCompilingCanBeInterrupted(t *testing.T) {
	module(t)
	list, err := gotest.List(t.Context(), "rdma", []string{"./only"}, false)
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	_, errs := gotest.Compile(ctx, t.TempDir(), "rdma", list, 1)
	require.ErrorIs(t, errs[0], enough)
}

func TestOptionsBecomeFlagsOfTheTestingPackage(t *testing.T) {
	b := gotest.Binary{Path: "/x.test", Package: gotest.Package{Tests: []string{"TestA", "TestB"}}}
	for name, c := range map[string]struct {
		options gotest.Options
		want    []string
	}{
		"the tests with the tag": {
			gotest.Options{},
			[]string{"/x.test", "-test.paniconexit0", "-test.timeout=0s", "-test.run=^(TestA|TestB)$"},
		},
		"what the user wants": {
			gotest.Options{
				Run: "A/sub", Short: true, Verbose: true, Count: 3, Timeout: time.Minute, Args: []string{"-x"},
			},
			[]string{
				"/x.test", "-test.paniconexit0", "-test.timeout=1m0s", "-test.run=A/sub", "-test.short",
				"-test.v", "-test.count=3", "-x",
			},
		},
		"benchmarks alone": {
			gotest.Options{Bench: "."},
			[]string{"/x.test", "-test.paniconexit0", "-test.timeout=0s", "-test.run=^$", "-test.bench=."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, c.options.Command(b))
		})
	}
	assert.True(t, gotest.Options{Bench: "."}.Streams())
	assert.False(t, gotest.Options{}.Streams())
}

func TestResultsReadAsFromGoTest(t *testing.T) {
	var b bytes.Buffer
	r := gotest.NewReport(&b)
	r.Add(gotest.Result{ImportPath: "x/good", Took: 1500 * time.Millisecond, Output: []byte("PASS\n")})
	r.Add(gotest.Result{ImportPath: "x/empty", Output: []byte("testing: warning: no tests to run\nPASS\n")})
	assert.True(t, r.Finish())
	r.Add(gotest.Result{ImportPath: "x/bad", Status: 1, Output: []byte("--- FAIL: TestX\nFAIL")})
	r.Add(gotest.Result{ImportPath: "x/crash", Status: 2, Output: []byte("panic: x\n")})
	r.Add(gotest.Result{ImportPath: "x/killed", Status: 137})
	r.Add(gotest.Result{ImportPath: "x/lost", Err: errors.New("host a: host is down")})
	r.Add(gotest.Result{ImportPath: "x/uncompiled", Err: &gotest.CompileError{ImportPath: "x/uncompiled", Output: "syntax error\n"}})
	assert.False(t, r.Finish())
	//nolint:dupword // go test says FAIL twice
	assert.Equal(t, `ok  	x/good	1.500s
ok  	x/empty	0.000s [no tests to run]
--- FAIL: TestX
FAIL
FAIL	x/bad	0.000s
panic: x
FAIL	x/crash	0.000s (exit status 2)
FAIL	x/killed	0.000s (killed; was there memory enough? --mem gives guests more)
host a: host is down
FAIL	x/lost	0.000s
# x/uncompiled
syntax error
FAIL	x/uncompiled [build failed]
FAIL
`, b.String())
	assert.False(t, gotest.NewReport(&b).Finish(), "a run of nothing is no success")
}

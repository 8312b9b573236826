package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
	"catmint/soft-roce/testbed"
)

// testModule makes a module with packages for "soft-roce test" and goes there.
func testModule(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{
		"go.mod": "module example\n\ngo 1.26\n",
		"good/good_test.go": `//go:build rdma

package good

import ("fmt"; "os"; "testing")

func TestFolder(t *testing.T) {
	if _, err := os.Stat("good_test.go"); err != nil { t.Fatal(err) }
	fmt.Println("host", os.Getenv("SOFT_ROCE_HOST"), testing.Short(), os.Args[len(os.Args)-1])
}

func BenchmarkX(b *testing.B) { for b.Loop() {} }
`,
		"good/fast_test.go": "package good\n\nimport \"testing\"\n\nfunc TestFast(t *testing.T) { t.Fatal(\"not here\") }\n",
		"bad/bad_test.go":   "//go:build rdma\n\npackage bad\n\nimport \"testing\"\n\nfunc TestBad(t *testing.T) { t.Fatal(\"it went wrong\") }\n",
		"slow/slow_test.go": "//go:build rdma\n\npackage slow\n\nimport (\"testing\"; \"time\")\n\nfunc TestSlow(t *testing.T) { time.Sleep(time.Hour) }\n",
		"twice/pair_test.go": `//go:build rdma2

package twice

import ("os"; "testing")

func TestB(t *testing.T) { if os.Getenv("SOFT_ROCE_HOST") == "b" { t.Fatal("b is against it") } }
`,
		"broken/broken_test.go": "//go:build rdma\n\npackage broken\n\nfunc TestX() { x }\n",
		"plain/plain_test.go":   "package plain\n",
	} {
		fake.Write(t, filepath.Join(dir, path), text)
	}
	t.Chdir(dir)
}

func TestPackagesAreTestedInTheirFolders(t *testing.T) {
	flags := onFake(t, fake.Works)
	testModule(t)
	var c call
	assert.Equal(t, 0, c.run(args("test", flags, "./good")...), c.err.String()+c.out.String())
	assert.Regexp(t, `^ok  \texample/good\t[0-9.]+s\n$`, c.out.String())

	c = call{}
	assert.Equal(t, 0, c.run(args("test", flags, "-v", "--short", "./good", "--", "extra")...))
	assert.Contains(t, c.out.String(), "host a true extra\n")
	assert.Contains(t, c.out.String(), "--- PASS: TestFolder")

	c = call{}
	assert.Equal(t, 0, c.run(args("test", flags, "--bench", ".", "./good")...))
	assert.Contains(t, c.out.String(), "BenchmarkX")
}

func TestOneFailureFailsTheRunButNotTheOtherPackages(t *testing.T) {
	flags := onFake(t, fake.Works)
	testModule(t)
	var c call
	assert.Equal(t, 1, c.run(args("test", flags, "./bad", "./broken", "./good")...))
	assert.Contains(t, c.out.String(), "it went wrong")
	assert.Contains(t, c.out.String(), "FAIL\texample/bad\t")
	assert.Contains(t, c.out.String(), "FAIL\texample/broken [build failed]\n")
	assert.Contains(t, c.out.String(), "ok  \texample/good\t")
	assert.Regexp(t, `(?m)^FAIL$`, c.out.String())
}

func TestBothHostsMustPass(t *testing.T) {
	flags := onFake(t, fake.Works)
	testModule(t)
	var c call
	assert.Equal(t, 1, c.run(args("test", flags, "--hosts", "2", "./twice")...))
	assert.Contains(t, c.out.String(), "a| PASS\n")
	assert.Contains(t, c.out.String(), "b|     pair_test.go:7: b is against it\n")
}

func TestTestsThatHangHaveTheirGoroutinesShown(t *testing.T) {
	flags := onFake(t, fake.Works)
	testModule(t)
	var c call
	assert.Equal(t, 1, c.run(args("test", flags, "--test-timeout", "300ms", "./slow")...))
	assert.Contains(t, c.out.String(), "panic: test timed out after 300ms")
	assert.Contains(t, c.out.String(), "FAIL\texample/slow")
}

func TestTheTimeLimitOfEverythingHoldsForTests(t *testing.T) {
	flags := onFake(t, fake.Works)
	testModule(t)
	var c call
	assert.Equal(t, 124, c.run(args("test", flags, "--timeout", "3s", "--test-timeout", "0", "./slow", "./good")...))
	assert.Contains(t, c.err.String(), "time limit reached: 3s")
}

func TestAGuestThatDiesEndsTheRun(t *testing.T) {
	flags := onFake(t, fake.DiesOnExec)
	testModule(t)
	var c call
	assert.Equal(t, 125, c.run(args("test", flags, "./good", "./slow")...))
	assert.Contains(t, c.out.String(), "host a: host is down")
	assert.Contains(t, c.err.String(), "1 packages were not run")
}

func TestTestingNothingIsAnError(t *testing.T) {
	flags := onFake(t, fake.Works)
	testModule(t)
	var c call
	assert.Equal(t, 125, c.run(args("test", flags, "./plain")...))
	assert.Contains(t, c.err.String(), "example/plain: no tests with the build tag rdma")
	c = call{}
	assert.Equal(t, 125, c.run(args("test", flags, "--skip-packages-without", "./plain")...))
	assert.Contains(t, c.err.String(), "no package of ./plain has tests with the build tag rdma")
	c = call{}
	assert.Equal(t, 125, c.run(args("test", flags, "./nowhere")...))
}

func TestBootFailuresAreTold(t *testing.T) {
	flags := onFake(t, fake.Fails)
	testModule(t)
	var c call
	assert.Equal(t, 125, c.run(args("test", flags, "./good")...))
	assert.Contains(t, c.err.String(), "load module rdma_rxe: fake")
}

func TestNativeHostsRunCommandsOnThisMachine(t *testing.T) {
	// The set-up of a native host needs rdma_rxe; running commands on one does not.
	h := &hosts{list: []host{nativeHost{map[string]string{"SOFT_ROCE_HOST": "a"}}}, close: func() {}}
	for script, want := range map[string]int{
		"exit 3": 3, "kill -TERM $$": 143, `[ "$SOFT_ROCE_HOST" = a ]`: 0,
	} {
		status, err := runOn(t, h, "sh", "-c", script)
		require.NoError(t, err)
		assert.Equal(t, want, status, script)
	}
	status, err := runOn(t, h, "no-such-program")
	require.NoError(t, err)
	assert.Equal(t, 127, status)
	status, err = runOn(t, h, t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, 126, status)
}

func runOn(t *testing.T, h *hosts, argv ...string) (int, error) {
	t.Helper()
	p, err := h.list[0].Start(testbed.Command{Args: argv})
	if err != nil {
		return 0, err
	}
	return await(t.Context(), h, p, io.Discard)
}

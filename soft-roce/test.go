package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"catmint/soft-roce/internal/gotest"
	"catmint/soft-roce/testbed"
)

const (
	defaultTestTimeout    = 15 * time.Minute // of everything
	defaultPackageTimeout = 5 * time.Minute  // of one package's tests
)

// killGrace is what a test binary gets beyond its own time limit, to print its goroutines.
const killGrace = 30 * time.Second

// Build tags that mark the tests that need one host, and two.
const (
	tagsOneHost  = "rdma"
	tagsTwoHosts = "rdma2"
)

type testFlags struct {
	bedFlags
	tags    string
	skip    bool
	options gotest.Options
}

func testMain(
	ctx context.Context, cancel context.CancelCauseFunc, args []string, std streams, signals <-chan os.Signal,
) (int, error) {
	var f testFlags
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.register(fs, defaultTestTimeout)
	fs.StringVar(&f.tags, "tags", "",
		"build tag of the tests to run (default rdma, with --hosts 2 rdma2)")
	fs.BoolVar(&f.skip, "skip-packages-without", false, "pass over packages without such tests")
	fs.StringVar(&f.options.Run, "run", "", "run the tests that match this, with and without the tag")
	fs.StringVar(&f.options.Bench, "bench", "", "run the benchmarks that match this, and no tests unless --run")
	fs.BoolVar(&f.options.Short, "short", false, "tell long tests to be short")
	fs.BoolVarP(&f.options.Verbose, "v", "v", false, "show everything as it comes")
	fs.IntVar(&f.options.Count, "count", 0, "run each test this many times")
	fs.DurationVar(&f.options.Timeout, "test-timeout", defaultPackageTimeout, "time limit of each package, 0 for none")
	if err := parse(fs, args, std, "soft-roce test [flags] PACKAGE... [-- ARG...]"); err != nil {
		return 0, err
	}
	if err := f.check(fs); err != nil {
		return 0, err
	}
	patterns := fs.Args()
	if dash := fs.ArgsLenAtDash(); dash >= 0 {
		patterns, f.options.Args = patterns[:dash], patterns[dash:]
	}
	switch {
	case len(patterns) == 0:
		return 0, usageError{errors.New("no PACKAGE; ./... stands for all")}
	case f.options.Timeout < 0 || f.options.Count < 0:
		return 0, usageError{errors.New("--test-timeout and --count cannot be negative")}
	}
	if f.tags == "" {
		f.tags = tagsOneHost
		if f.bed.Hosts == 2 {
			f.tags = tagsTwoHosts
		}
	}
	defer limit(cancel, f.timeout, signals)()
	packages, err := gotest.List(ctx, f.tags, patterns, f.skip)
	if err != nil {
		return statusIfCut(ctx, err)
	}
	if len(packages) == 0 {
		return statusFailure, fmt.Errorf("no package of %s has tests with the build tag %s",
			strings.Join(patterns, " "), f.tags)
	}
	return f.run(ctx, fs, packages, std)
}

// run compiles the tests while the hosts boot, then runs them one package after the other.
func (f *testFlags) run(
	ctx context.Context, fs *pflag.FlagSet, packages []gotest.Package, std streams,
) (int, error) {
	dir, err := binaryFolder(f.tags)
	if err != nil {
		return statusFailure, err
	}
	type opened struct {
		hosts *hosts
		err   error
	}
	boot := make(chan opened, 1)
	go func() {
		h, err := f.open(ctx, fs, std)
		boot <- opened{h, err}
	}()
	binaries, buildErrs := gotest.Compile(ctx, dir, f.tags, packages, runtime.NumCPU())
	bed := <-boot
	if bed.err != nil {
		return statusIfCut(ctx, bed.err)
	}
	defer bed.hosts.close()
	report := gotest.NewReport(std.out)
	for i, b := range binaries {
		if cause := context.Cause(ctx); cause != nil {
			return statusIfCut(ctx, cause)
		}
		result := gotest.Result{ImportPath: b.Package.ImportPath, Err: buildErrs[i]}
		if result.Err == nil {
			result = f.runBinary(ctx, bed.hosts, b, std)
		}
		report.Add(result)
		if errors.Is(result.Err, testbed.ErrHostDown) || ctx.Err() != nil {
			if ctx.Err() != nil {
				return statusIfCut(ctx, context.Cause(ctx))
			}
			return statusFailure, fmt.Errorf("%d packages were not run", len(binaries)-i-1)
		}
	}
	if !report.Finish() {
		return 1, nil
	}
	return 0, nil
}

// binaryFolder returns the folder for test binaries, which are kept: go sees for itself which of
// them are up to date.
func binaryFolder(tags string) (string, error) {
	cache, err := testbed.CacheDir()
	if err != nil {
		return "", err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(cwd + "\x00" + tags))
	dir := filepath.Join(cache, "tests", hex.EncodeToString(sum[:6]))
	return dir, os.MkdirAll(dir, 0o755)
}

// runBinary runs a package's tests on every host at once.
func (f *testFlags) runBinary(ctx context.Context, h *hosts, b gotest.Binary, std streams) gotest.Result {
	if f.options.Timeout > 0 {
		var cancel context.CancelFunc
		limit := f.options.Timeout + killGrace
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: %v for %s, the tests' own limit being %v",
			errTimeout, limit, b.Package.ImportPath, f.options.Timeout))
		defer cancel()
	}
	result := gotest.Result{ImportPath: b.Package.ImportPath}
	begin := time.Now()
	var buffer bytes.Buffer
	var out io.Writer = &buffer
	if f.options.Streams() {
		out = std.out
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var merge sync.Mutex
	for i, host := range h.list {
		prefix := ""
		if len(h.list) > 1 {
			prefix = string(rune('a'+i)) + "| "
		}
		lines := &lineWriter{mu: &mu, prefix: prefix, w: out}
		p, err := host.Start(testbed.Command{
			Args: f.options.Command(b), Dir: b.Package.Dir, Env: f.env, Stdout: lines, Stderr: lines,
		})
		if err != nil {
			merge.Lock()
			result.Err = errors.Join(result.Err, err)
			merge.Unlock()
			continue
		}
		wg.Go(func() {
			status, err := await(ctx, h, p, std.err)
			lines.flush()
			merge.Lock()
			defer merge.Unlock()
			result.Err = errors.Join(result.Err, err)
			result.Status = max(result.Status, status)
		})
	}
	wg.Wait()
	result.Took, result.Output = time.Since(begin), buffer.Bytes()
	return result
}

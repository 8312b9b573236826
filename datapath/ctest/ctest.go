package ctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Sanitizer is a set of compiler flags to run a program under.
type Sanitizer struct {
	Name  string
	Flags []string
	// Fixed turns address randomisation off for the program: the thread sanitizer of
	// older compilers cannot start under that of newer kernels.
	Fixed bool
}

// The sanitizers that every program runs under.
var (
	Address = Sanitizer{Name: "address", Flags: []string{"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1"}}
	Thread  = Sanitizer{Name: "thread", Flags: []string{"-fsanitize=thread", "-O1"}, Fixed: true}
)

// Program is a C program. Paths are relative to the root of the module.
type Program struct {
	Sources  []string
	Includes []string // folders, besides that of the module and datapath/ctest/testdata
	Flags    []string // for the compiler, of the first source
	Libs     []string // for the linker: -libverbs
	Args     []string // for the program
	// Limit ends a program that hangs; ten minutes if it is 0.
	Limit time.Duration
}

// Warnings are the flags that all C of the module compiles cleanly with.
var Warnings = []string{"-std=c11", "-Wall", "-Wextra", "-Werror"}

// Root returns the root of the module.
func Root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	tb.Fatal(err)
	return ""
}

// EngineProgram is a program of sources, relative to the root, with the engine and the simulated
// fabric, but without Go.
func EngineProgram(tb testing.TB, sources ...string) Program {
	tb.Helper()
	root := Root(tb)
	for _, pattern := range []string{"datapath/*.c", "rdma/sim/sim_*.c"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			tb.Fatalf("no files %s: %v", pattern, err)
		}
		for _, f := range files {
			rel, err := filepath.Rel(root, f)
			if err != nil {
				tb.Fatal(err)
			}
			sources = append(sources, rel)
		}
	}
	return Program{Sources: sources, Includes: []string{"rdma", "datapath/wire", "qtoken"}}
}

// Run compiles p under each sanitizer and runs it, each as a subtest. The program must
// exit with 0.
func Run(t *testing.T, p Program, sanitizers ...Sanitizer) {
	t.Helper()
	for _, s := range sanitizers {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			bin := Build(t, p, s.Flags...)
			if out, err := execute(t, p, s, bin); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// Build compiles p with gcc (or $CC) and returns the executable's path.
func Build(tb testing.TB, p Program, flags ...string) string {
	tb.Helper()
	root := Root(tb)
	bin := filepath.Join(tb.TempDir(), "program")
	flags = append(append([]string{"-g", "-D_GNU_SOURCE=1", "-pthread"}, Warnings...), flags...)
	compile := slices.Clone(flags)
	dirs := append(slices.Clone(includes), p.Includes...)
	for i, dir := range dirs {
		dirs[i] = filepath.Join(root, dir)
		compile = append(compile, "-I"+dirs[i])
	}
	for _, src := range p.Sources {
		if dir := filepath.Dir(filepath.Join(root, src)); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	headers := readHeaders(tb, dirs)
	link := append(slices.Clone(flags), "-o", bin)
	for i, src := range p.Sources {
		own := compile // the others are the same in many programs
		if i == 0 {
			own = append(slices.Clone(compile), p.Flags...)
		}
		link = append(link, object(tb, compiler(), filepath.Join(root, src), own, headers))
	}
	link = append(link, p.Libs...)
	if out, err := exec.Command(compiler(), link...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", strings.Join(p.Sources, " "), err, out)
	}
	return bin
}

// Folders that every program may include from.
var includes = []string{".", "include", "datapath", "datapath/ctest/testdata"}

// Analyze runs gcc's static analyzer over one source; a finding fails the test.
func Analyze(tb testing.TB, source string, more ...string) {
	tb.Helper()
	root := Root(tb)
	flags := append([]string{"-O2", "-fanalyzer", "-D_GNU_SOURCE=1"}, Warnings...)
	dirs := append(slices.Clone(includes), more...)
	for i, dir := range dirs {
		dirs[i] = filepath.Join(root, dir)
		flags = append(flags, "-I"+dirs[i])
	}
	source = filepath.Join(root, source)
	object(tb, "gcc", source, flags, readHeaders(tb, append(dirs, filepath.Dir(source))))
}

func compiler() string {
	if cc := os.Getenv("CC"); cc != "" {
		return cc
	}
	return "gcc"
}

func execute(t *testing.T, p Program, s Sanitizer, bin string) ([]byte, error) {
	t.Helper()
	limit := p.Limit
	if limit == 0 {
		limit = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	argv := append([]string{bin}, p.Args...)
	if s.Fixed {
		argv = append([]string{"setarch", "-R"}, argv...)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "ASAN_OPTIONS=detect_leaks=1", "TSAN_OPTIONS=halt_on_error=1", "UBSAN_OPTIONS=print_stacktrace=1")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return out, fmt.Errorf("still running after %v: %w", limit, ctx.Err())
	}
	return out, err
}

package gotest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Binary is a compiled test.
type Binary struct {
	Package Package
	Path    string
}

// CompileError reports a package whose tests do not compile, with the compiler's words.
type CompileError struct {
	ImportPath string
	Output     string
}

func (e *CompileError) Error() string {
	return fmt.Sprintf("# %s\n%s", e.ImportPath, strings.TrimRight(e.Output, "\n"))
}

// Compile compiles the tests of packages into dir, jobs at a time. The results have the packages'
// order; a package that does not compile has an error in its place.
func Compile(ctx context.Context, dir, tags string, packages []Package, jobs int) ([]Binary, []error) {
	binaries := make([]Binary, len(packages))
	errs := make([]error, len(packages))
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(jobs, 1))
	for i, pkg := range packages {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			path := filepath.Join(dir, fileName(pkg.ImportPath))
			binaries[i] = Binary{Package: pkg, Path: path}
			errs[i] = compile(ctx, path, tags, pkg)
		})
	}
	wg.Wait()
	return binaries, errs
}

// compile builds one test binary. An existing one that is up to date is left alone by go itself.
func compile(ctx context.Context, path, tags string, pkg Package) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags="+tags, "-vet=off", "-o", path, pkg.ImportPath)
	// The same word for the working folder as "go list" has printed, for cgo's cached flags.
	cmd.Env = os.Environ()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &CompileError{pkg.ImportPath, string(out)}
	}
	return nil
}

// fileName makes a file name of an import path.
func fileName(importPath string) string {
	return strings.ReplaceAll(importPath, "/", "_") + ".test"
}

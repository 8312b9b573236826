package gotest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Package is a package with tests that need a build tag.
type Package struct {
	ImportPath string
	Dir        string
	Tests      []string // tests, examples and fuzz targets in the files that need the tag
	Benchmarks []string // benchmarks in those files
}

// NoTestsError reports a package that has no tests with the tag: most likely the wrong package was
// named, and a run that tests nothing must not look like success.
type NoTestsError struct {
	ImportPath, Tags string
}

func (e *NoTestsError) Error() string {
	return fmt.Sprintf("%s: no tests with the build tag %s", e.ImportPath, e.Tags)
}

// listed is what "go list -json" tells of a package.
type listed struct {
	ImportPath   string
	Dir          string
	TestGoFiles  []string
	XTestGoFiles []string
	Error        *struct{ Err string }
}

func (l listed) testFiles() []string { return slices.Concat(l.TestGoFiles, l.XTestGoFiles) }

// List returns the packages that patterns match, with those of their tests that are there only
// with the build tags. A package without any is an error, unless skipEmpty leaves those out.
func List(ctx context.Context, tags string, patterns []string, skipEmpty bool) ([]Package, error) {
	with, err := goList(ctx, tags, patterns)
	if err != nil {
		return nil, err
	}
	without, err := goList(ctx, "", patterns)
	if err != nil {
		return nil, err
	}
	plain := make(map[string][]string)
	for _, l := range without {
		plain[l.ImportPath] = l.testFiles()
	}
	var list []Package
	for _, l := range with {
		files := slices.DeleteFunc(l.testFiles(), func(file string) bool {
			return slices.Contains(plain[l.ImportPath], file)
		})
		pkg, err := inspect(l, files)
		if err != nil {
			return nil, err
		}
		switch {
		case len(pkg.Tests)+len(pkg.Benchmarks) > 0:
			list = append(list, pkg)
		case !skipEmpty:
			return nil, &NoTestsError{l.ImportPath, tags}
		}
	}
	return list, nil
}

// goList runs "go list". With -e a package that has files only with the tag is listed without it
// too; real errors come out in the listing with the tags.
func goList(ctx context.Context, tags string, patterns []string) ([]listed, error) {
	args := []string{"list", "-e", "-tags=" + tags, "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles,Error", "--"}
	cmd := exec.CommandContext(ctx, "go", append(args, patterns...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var list []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		switch err := dec.Decode(&l); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, fmt.Errorf("go list: %w", err)
		}
		if l.Error != nil && tags != "" {
			return nil, fmt.Errorf("go list: %s", l.Error.Err)
		}
		list = append(list, l)
	}
}

// inspect finds the tests in a package's files.
func inspect(l listed, files []string) (Package, error) {
	pkg := Package{ImportPath: l.ImportPath, Dir: l.Dir}
	for _, name := range files {
		path := filepath.Join(l.Dir, name)
		src, err := os.ReadFile(path)
		if err != nil {
			return pkg, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments)
		if err != nil {
			return pkg, err
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Recv != nil {
				continue
			}
			switch kind(fn.Name.Name) {
			case isTest:
				pkg.Tests = append(pkg.Tests, fn.Name.Name)
			case isBenchmark:
				pkg.Benchmarks = append(pkg.Benchmarks, fn.Name.Name)
			case isNeither:
			}
		}
	}
	return pkg, nil
}

type funcKind int

const (
	isNeither funcKind = iota
	isTest
	isBenchmark
)

// kind follows the rule of the testing package: a prefix, then nothing or no lower-case letter.
func kind(name string) funcKind {
	for _, prefix := range []string{"Test", "Example", "Fuzz", "Benchmark"} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || rest != "" && rest[0] >= 'a' && rest[0] <= 'z' {
			continue
		}
		switch {
		case name == "TestMain":
			return isNeither
		case prefix == "Benchmark":
			return isBenchmark
		default:
			return isTest
		}
	}
	return isNeither
}

package ctest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Objects are kept in build/ctest under the hash of everything that they are made of,
// because the engine's sources are the same in every program and slow to compile with
// sanitizers. "make clean" removes them; those not used for a day are removed here.
const keepObjects = 24 * time.Hour

var objects struct {
	sync.Mutex
	dir    string
	making map[string]*sync.Mutex // by path: each object is made once at a time
}

// object compiles one source and returns the object's path.
func object(tb testing.TB, cc, source string, flags []string, headers []byte) string {
	tb.Helper()
	text := readFile(tb, source)
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s\n%s\n%d\n", compilerVersion(cc), source, strings.Join(flags, "\n"), len(text))
	hash.Write(text)
	hash.Write(headers)
	path := filepath.Join(objectDir(tb), hex.EncodeToString(hash.Sum(nil))+".o")

	mu := objectLock(path)
	mu.Lock()
	defer mu.Unlock()
	now := time.Now()
	if os.Chtimes(path, now, now) == nil {
		return path
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid()) // another process may be making it, too
	args := append(slices.Clone(flags), "-c", source, "-o", tmp)
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		os.Remove(tmp)
		tb.Fatalf("%s: %v\n%s", source, err, out)
	}
	if err := os.Rename(tmp, path); err != nil {
		tb.Fatal(err)
	}
	return path
}

func objectLock(path string) *sync.Mutex {
	objects.Lock()
	defer objects.Unlock()
	if objects.making == nil {
		objects.making = map[string]*sync.Mutex{}
	}
	if objects.making[path] == nil {
		objects.making[path] = &sync.Mutex{}
	}
	return objects.making[path]
}

func objectDir(tb testing.TB) string {
	tb.Helper()
	objects.Lock()
	defer objects.Unlock()
	if objects.dir != "" {
		return objects.dir
	}
	dir := filepath.Join(Root(tb), "build", "ctest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > keepObjects {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	objects.dir = dir
	return dir
}

// compilerVersion says which compiler cc is, so that another one makes its own objects.
func compilerVersion(cc string) string {
	v, _ := versions.LoadOrStore(cc, sync.OnceValue(func() string {
		out, err := exec.Command(cc, "--version").Output()
		if err != nil {
			return cc // the compilation will say what is wrong
		}
		return cc + "\n" + string(out)
	}))
	return v.(func() string)()
}

var versions sync.Map // compiler to func() string

// readHeaders returns the text of every header in the folders, for the hash. Reading them
// also tells go test that the result depends on them, so that it does not answer from its
// cache when one has changed.
func readHeaders(tb testing.TB, dirs []string) []byte {
	tb.Helper()
	var all []byte
	for _, dir := range dirs {
		for _, pattern := range []string{"*.h", "demi/*.h"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				tb.Fatal(err)
			}
			for _, f := range files {
				all = append(append(append(all, f...), '\n'), readFile(tb, f)...)
			}
		}
	}
	return all
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Store fetches kernel packages and keeps them.
type Store struct {
	Dir string    // cache folder; kernels go into its kernels/
	Log io.Writer // told what takes long; may be nil
}

// versionPattern matches what may be asked for as a kernel version: 6.1, 6.12.
var versionPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// Get returns the kernel that want names: Newest, a version such as 6.1, a folder with an unpacked
// kernel package, or a .deb file. Packages are fetched if the cache does not have them; a version
// that was fetched once is not looked up again (see Refresh).
func (s *Store) Get(ctx context.Context, want string) (*Kernel, error) {
	switch {
	case strings.HasSuffix(want, ".deb"):
		return s.fromFile(ctx, want)
	case strings.ContainsRune(want, '/'):
		return Open(want)
	case want != Newest && !versionPattern.MatchString(want):
		return nil, fmt.Errorf("kernel %q: want %s, a version such as 6.1, the folder of an "+
			"unpacked kernel package, or a .deb file (with a / in its name)", want, Newest)
	}
	if k, err := s.cached(want); err == nil {
		return k, nil
	}
	return s.Refresh(ctx, want)
}

// cached follows the link that Refresh left.
func (s *Store) cached(want string) (*Kernel, error) {
	root, err := filepath.EvalSymlinks(s.link(want))
	if err != nil {
		return nil, err
	}
	return Open(root)
}

func (s *Store) link(want string) string { return filepath.Join(s.Dir, "kernels", "by-name", want) }

// Refresh asks the distribution which package want (Newest or a version) stands for now, fetches it
// if the cache does not have it, and remembers the answer.
func (s *Store) Refresh(ctx context.Context, want string) (*Kernel, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	pkg, err := s.resolve(ctx, want)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(s.Dir, "kernels", pkg.String())
	if _, err := Open(root); err != nil {
		if err := s.download(ctx, pkg, root); err != nil {
			return nil, err
		}
	}
	link := s.link(want)
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return nil, err
	}
	tmp := link + ".new"
	_ = os.Remove(tmp)
	if err := os.Symlink(filepath.Join("..", pkg.String()), tmp); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, link); err != nil {
		return nil, err
	}
	return Open(root)
}

// lock keeps two processes from fetching the same package at the same time.
func (s *Store) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Join(s.Dir, "kernels"), 0o755); err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "kernels", "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the cache folder: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// pkgVersion is a package at a version.
type pkgVersion struct {
	Name, Version string
}

func (p pkgVersion) String() string { return p.Name + "_" + p.Version }

// resolve finds the package behind a metapackage such as linux-image-6.12-amd64.
func (s *Store) resolve(ctx context.Context, want string) (pkgVersion, error) {
	pkg, err := s.lookUp(ctx, want)
	if err == nil || os.Getuid() != 0 {
		return pkg, err
	}
	// A fresh machine, a container above all, has no package lists yet.
	s.say("reading the distribution's package lists (apt-get update)")
	if _, updateErr := run(ctx, "", "apt-get", "update", "-qq"); updateErr != nil {
		return pkgVersion{}, fmt.Errorf("%w (and: %w)", err, updateErr)
	}
	return s.lookUp(ctx, want)
}

func (s *Store) lookUp(ctx context.Context, want string) (pkgVersion, error) {
	var candidates []string
	if want == Newest {
		names, err := run(ctx, "", "apt-cache", "search", "--names-only",
			`^linux-image-([0-9]+\.[0-9]+-)?amd64$`)
		if err != nil {
			return pkgVersion{}, err
		}
		candidates = newestFirst(names)
	} else {
		// The distribution's default kernel has no metapackage with a version in its name.
		candidates = []string{"linux-image-" + want + "-amd64", "linux-image-amd64"}
	}
	for _, meta := range candidates {
		record, err := run(ctx, "", "apt-cache", "show", "--no-all-versions", meta)
		if err != nil {
			continue
		}
		pkg, err := parseDepends(record)
		if err != nil {
			return pkgVersion{}, fmt.Errorf("package %s: %w", meta, err)
		}
		if want == Newest || strings.HasPrefix(pkg.Name, "linux-image-"+want+".") ||
			strings.HasPrefix(pkg.Name, "linux-image-"+want+"-") {
			return pkg, nil
		}
	}
	return pkgVersion{}, fmt.Errorf("the distribution offers no amd64 kernel %s (are its package "+
		"lists there? apt-get update; on a distribution other than Debian name an unpacked "+
		"Debian kernel package with --kernel)", want)
}

// newestFirst picks the names out of apt-cache's answer and puts the one with the highest version
// first, the one without a version last.
func newestFirst(answer string) []string {
	type candidate struct {
		name         string
		major, minor int
	}
	var list []candidate
	for line := range strings.Lines(answer) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		c := candidate{name: name}
		version := strings.TrimSuffix(strings.TrimPrefix(name, "linux-image-"), "-amd64")
		if a, b, ok := strings.Cut(version, "."); ok {
			c.major, _ = strconv.Atoi(a)
			c.minor, _ = strconv.Atoi(b)
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		if a.major != b.major {
			return b.major - a.major
		}
		return b.minor - a.minor
	})
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.name
	}
	return names
}

// dependsPattern matches "linux-image-6.12.9+deb12-amd64 (= 6.12.9-1)".
var dependsPattern = regexp.MustCompile(`(?m)^Depends:.*?(linux-image-[^ ,]+) \(= ([^)]+)\)`)

func parseDepends(record string) (pkgVersion, error) {
	m := dependsPattern.FindStringSubmatch(record)
	if m == nil {
		return pkgVersion{}, errors.New("it names no kernel package in Depends")
	}
	return pkgVersion{Name: m[1], Version: m[2]}, nil
}

// download fetches a package (apt checks its signature) and unpacks it into root.
func (s *Store) download(ctx context.Context, pkg pkgVersion, root string) error {
	work, err := os.MkdirTemp(filepath.Dir(root), ".fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	s.say("fetching %s %s (once, into %s)", pkg.Name, pkg.Version, s.Dir)
	_, err = run(ctx, work, "apt-get", "download", "-qq", pkg.Name+"="+pkg.Version)
	if err != nil {
		return err
	}
	files, _ := filepath.Glob(filepath.Join(work, "*.deb"))
	if len(files) != 1 {
		return fmt.Errorf("apt-get download %s left %d files", pkg.Name, len(files))
	}
	return unpack(ctx, files[0], root)
}

// unpack unpacks a kernel package into root, which appears only once it is complete.
func unpack(ctx context.Context, deb, root string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(root), ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := run(ctx, "", "dpkg-deb", "-x", deb, tmp); err != nil {
		return err
	}
	if _, err := Open(tmp); err != nil {
		return fmt.Errorf("%s: %w", deb, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil { // an unpacking that was cut short
		return err
	}
	return os.Rename(tmp, root)
}

// fromFile unpacks a package that the user has, once for each state of the file.
func (s *Store) fromFile(ctx context.Context, deb string) (*Kernel, error) {
	info, err := os.Stat(deb)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	name := fmt.Sprintf("file-%s-%d-%d", strings.TrimSuffix(filepath.Base(deb), ".deb"),
		info.Size(), info.ModTime().Unix())
	root := filepath.Join(s.Dir, "kernels", name)
	if k, err := Open(root); err == nil {
		return k, nil
	}
	if err := unpack(ctx, deb, root); err != nil {
		return nil, err
	}
	return Open(root)
}

func (s *Store) say(format string, args ...any) {
	if s.Log != nil {
		fmt.Fprintf(s.Log, "soft-roce: "+format+"\n", args...)
	}
}

// run runs a program and returns its standard output; an error says what the program complained of.
func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return "", err
	}
	return string(out), nil
}

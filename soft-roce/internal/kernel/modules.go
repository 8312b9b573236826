package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
)

// Module is a kernel module, decompressed.
type Module struct {
	Name  string // with underscores, as the kernel spells it
	Image []byte // ELF file
}

// ModuleSet finds modules of one kernel and what they depend on. The package carries no
// modules.dep (depmod makes that on installation), so dependencies are read from the modules.
type ModuleSet struct {
	paths   map[string]string
	builtin map[string]bool
	loaded  map[string]*parsed
}

type parsed struct {
	image   []byte
	depends []string
}

// ErrNoModule reports a module that the kernel has neither as a file nor built in.
var ErrNoModule = errors.New("kernel has no such module")

// ModuleSet lists the kernel's modules.
func (k *Kernel) ModuleSet() (*ModuleSet, error) {
	s := &ModuleSet{
		paths:   make(map[string]string),
		builtin: make(map[string]bool),
		loaded:  make(map[string]*parsed),
	}
	err := filepath.WalkDir(k.Modules, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleName(path); ok && d.Type().IsRegular() {
			s.paths[name] = path
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", k.Release, err)
	}
	list, err := os.ReadFile(filepath.Join(k.Modules, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", k.Release, err)
	}
	for line := range strings.Lines(string(list)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			s.builtin[name] = true
		}
	}
	return s, nil
}

// moduleName returns the kernel's name for the module in a file: lower/9p-net.ko.xz is 9p_net.
func moduleName(path string) (string, bool) {
	base := filepath.Base(path)
	for _, ext := range []string{".ko", ".ko.xz"} {
		if name, ok := strings.CutSuffix(base, ext); ok {
			return strings.ReplaceAll(name, "-", "_"), true
		}
	}
	return "", false
}

// Has tells whether the kernel has a module, as a file or built in.
func (s *ModuleSet) Has(name string) bool {
	name = strings.ReplaceAll(name, "-", "_")
	return s.builtin[name] || s.paths[name] != ""
}

// Closure returns the named modules and everything that they depend on, each once, in an order in
// which they can be loaded: dependencies first, otherwise as named. Built-in ones are left out, and
// so are those in known, which are loaded already.
func (s *ModuleSet) Closure(names []string, known ...Module) ([]Module, error) {
	c := closure{set: s, state: make(map[string]visit)}
	for _, m := range known {
		c.state[m.Name] = done
	}
	for _, name := range names {
		if err := c.add(strings.ReplaceAll(name, "-", "_")); err != nil {
			return nil, err
		}
	}
	return c.list, nil
}

type visit int

const (
	entered visit = 1 + iota
	done
)

type closure struct {
	set   *ModuleSet
	state map[string]visit
	list  []Module
}

func (c *closure) add(name string) error {
	switch c.state[name] {
	case done:
		return nil
	case entered:
		return fmt.Errorf("module %s depends on itself", name)
	}
	if c.set.paths[name] == "" && c.set.builtin[name] {
		return nil
	}
	c.state[name] = entered
	mod, err := c.set.load(name)
	if err != nil {
		return err
	}
	for _, dep := range mod.depends {
		if err := c.add(dep); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	c.state[name] = done
	c.list = append(c.list, Module{Name: name, Image: mod.image})
	return nil
}

func (s *ModuleSet) load(name string) (*parsed, error) {
	if p := s.loaded[name]; p != nil {
		return p, nil
	}
	path := s.paths[name]
	if path == "" {
		return nil, fmt.Errorf("%s: %w", name, ErrNoModule)
	}
	image, err := readModule(path)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	depends, err := dependsOf(image)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	p := &parsed{image: image, depends: depends}
	s.loaded[name] = p
	return p, nil
}

func readModule(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(path, ".xz") {
		return data, err
	}
	r, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// dependsOf reads the "depends=a,b" entry of a module's .modinfo section, a list of strings that
// each end in a zero byte (include/linux/module.h, scripts/mod/modpost.c).
func dependsOf(image []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo section: not a kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		value, ok := bytes.CutPrefix(entry, []byte("depends="))
		if !ok || len(value) == 0 {
			continue
		}
		names := strings.Split(string(value), ",")
		for i := range names {
			names[i] = strings.ReplaceAll(names[i], "-", "_")
		}
		return names, nil
	}
	return nil, nil
}

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

type module struct {
	name  string
	image []byte
}

type modules []module

func readModules(names []string) (modules, error) {
	var list modules
	for _, name := range names {
		image, err := os.ReadFile(filepath.Join(ModuleFolder, name))
		if err != nil {
			return nil, fmt.Errorf("module: %w", err)
		}
		list = append(list, module{name, image})
	}
	return list, nil
}

// load loads the modules one after the other. One that is there already is fine.
func (m modules) load() error {
	for _, mod := range m {
		if err := unix.InitModule(mod.image, ""); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", mod.name, err)
		}
	}
	return nil
}

func loadModules(names []string) error {
	list, err := readModules(names)
	if err != nil {
		return err
	}
	return list.load()
}

package guest

// Paths inside the initramfs that the host side and the init agree on.
const (
	InitPath     = "/init"
	ManifestPath = "/modules.json"
	ModuleFolder = "/modules"
)

// PortName is the name of the virtio-serial port that carries package wire.
const PortName = "soft-roce"

// RootTag is the mount tag of the 9p export that holds the host's root.
const RootTag = "root"

// WritableTag returns the mount tag of the i-th folder that is writable through to the outside.
func WritableTag(i int) string { return "rw" + string(rune('0'+i)) }

// Manifest says which modules to load. Early ones are needed to reach the host's files; the others
// are loaded while those are being mounted. Both are in an order that satisfies dependencies, and
// name files in ModuleFolder.
type Manifest struct {
	Early []string
	Late  []string
}

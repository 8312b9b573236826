package doctor

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// The problems that device nodes and providers can have.
const (
	NoNode     Code = "no-device-node"
	NoAccess   Code = "no-access"
	NoProvider Code = "no-provider"
	CannotOpen Code = "cannot-open"
)

const nodeDir = "dev/infiniband"

// checkNodes looks at the nodes through which programs reach devices and the connection
// manager.
func (x *exam) checkNodes() {
	if len(x.devices) == 0 {
		return
	}
	if !x.exists(nodeDir) {
		x.bad(Failure, NoNode, "node", "/"+nodeDir, "/"+nodeDir+" does not exist", x.makeNodes())
		x.failAll()
		return
	}
	good := true
	for _, d := range x.devices {
		if d.uverbs != "" && !x.checkNode(d.uverbs, d.name) {
			d.fail()
			good = false
		}
	}
	if x.exists("sys/class/misc/rdma_cm") && !x.checkNode("rdma_cm", "the connection manager") {
		x.failAll()
		good = false
	}
	if good {
		x.ok("node", "/"+nodeDir, "the nodes in /%s can be opened", nodeDir)
	}
}

func (x *exam) makeNodes() string {
	if x.inContainer() {
		return "pass the nodes into the container: docker run --device=/dev/infiniband, or an RDMA device plugin in Kubernetes"
	}
	return "udev makes it when the modules are loaded: is udev running? Otherwise make the nodes from the numbers in " +
		"/sys/class/infiniband_verbs/*/dev and /sys/class/misc/rdma_cm/dev"
}

func (x *exam) checkNode(name, of string) bool {
	object := "/" + filepath.Join(nodeDir, name)
	err := x.OpenNode(x.path(nodeDir, name))
	switch {
	case err == nil:
		return true
	case errors.Is(err, syscall.ENOENT):
		x.bad(Failure, NoNode, "node", object, fmt.Sprintf("%s of %s does not exist", object, of), x.makeNodes())
	case errors.Is(err, syscall.EACCES):
		x.bad(Failure, NoAccess, "node", object, fmt.Sprintf("this user may not open %s", object),
			"as root: chmod 666 "+object+"; for good, a udev rule: KERNEL==\""+name+"\", MODE=\"0666\"")
	case errors.Is(err, syscall.EPERM):
		x.bad(Failure, NoAccess, "node", object, object+" may not be opened here: its device is not allowed to this control group",
			"start the container with --device="+object)
	case errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		x.bad(Failure, NoNode, "node", object, object+" is a node of no device: it is stale",
			"remove it, and have udev (or the container's start) make it anew")
	default:
		x.bad(Failure, CannotOpen, "node", object, fmt.Sprintf("%s cannot be opened: %v", object, err), "see dmesg")
	}
	return false
}

// checkProviders looks for devices that the kernel has and libibverbs has not.
func (x *exam) checkProviders() {
	if len(x.devices) == 0 {
		return
	}
	probes, err := x.Probe()
	if err != nil {
		x.bad(Failure, CannotOpen, "library", "libibverbs", fmt.Sprintf("libibverbs cannot list devices: %v", err), "see dmesg")
		x.failAll()
		return
	}
	known := map[string]error{}
	for _, p := range probes {
		known[p.Name] = p.Err
	}
	for _, d := range x.devices {
		err, listed := known[d.name]
		switch {
		case listed && err == nil:
			x.ok("library", d.name, "libibverbs opens %s", d.name)
		case !d.ok || d.uverbs == "":
			// What keeps it from being opened has been said.
		case !listed:
			d.fail()
			x.bad(Failure, NoProvider, "library", d.name,
				fmt.Sprintf("the kernel has %s, and libibverbs has no provider library for it", d.name),
				"install it: ibverbs-providers on Debian and Ubuntu, libibverbs on Fedora and RHEL; it must be as new as libibverbs")
		default:
			d.fail()
			x.bad(Failure, CannotOpen, "library", d.name, fmt.Sprintf("libibverbs cannot open %s: %v", d.name, err), "see dmesg")
		}
		if d.uverbs == "" && x.exists("sys/class/infiniband_verbs") {
			d.fail()
			x.bad(Failure, NoNode, "node", d.name, fmt.Sprintf("%s has no entry in /sys/class/infiniband_verbs", d.name),
				"its driver does not serve programs, or the device is being removed: see dmesg")
		}
	}
}

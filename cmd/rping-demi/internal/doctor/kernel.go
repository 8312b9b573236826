package doctor

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
)

// The problems that the kernel and its modules can have.
const (
	NoUverbs    Code = "no-ib-uverbs"
	NoUCM       Code = "no-rdma-ucm"
	ModuleOrder Code = "module-order"
	NoDevice    Code = "no-device"
	NoRxe       Code = "no-rdma-rxe"
)

// device is an RDMA device of the kernel.
type device struct {
	name   string
	uverbs string // its node's name, such as uverbs0; "" if it has none
	netdev string // that it runs over; "" for InfiniBand, or if it is not known
	ok     bool   // nothing is known that keeps it from being used
}

func (d *device) fail() { d.ok = false }

func (x *exam) failAll() {
	for _, d := range x.devices {
		d.fail()
	}
}

// checkKernel looks for what programs reach RDMA devices through. What is built in is in no
// list of modules, so that it is the traces in sysfs that count.
func (x *exam) checkKernel() {
	found := true
	if !x.exists("sys/class/infiniband_verbs") {
		found = false
		x.bad(Failure, NoUverbs, "kernel", "ib_uverbs", "ib_uverbs is not loaded: programs cannot reach RDMA devices",
			x.asRoot("modprobe ib_uverbs"))
	}
	if !x.exists("sys/class/misc/rdma_cm") {
		found = false
		x.bad(Failure, NoUCM, "kernel", "rdma_ucm",
			"rdma_ucm is not loaded: programs cannot reach the connection manager", x.asRoot("modprobe rdma_ucm"))
	}
	if !found {
		x.failAll()
	} else {
		x.ok("kernel", "", "%s has ib_uverbs and rdma_ucm", x.Kernel)
	}
}

// asRoot is a command with a word on who has to give it where.
func (x *exam) asRoot(command string) string {
	if x.inContainer() {
		return command + " (as root, on the host of this container)"
	}
	return command + " (as root)"
}

// checkModuleOrder warns of ib_uverbs having been loaded after rdma_cm. /proc/modules has
// what was loaded last first; what is built in is not there, and then nothing is known.
func (x *exam) checkModuleOrder() {
	var loaded []string
	lines := bufio.NewScanner(strings.NewReader(x.read("proc/modules")))
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		loaded = append(loaded, name)
	}
	uverbs, cm := slices.Index(loaded, "ib_uverbs"), slices.Index(loaded, "rdma_cm")
	if uverbs < 0 || cm < 0 {
		return
	}
	if uverbs < cm {
		x.bad(Warning, ModuleOrder, "kernel", "ib_uverbs",
			"ib_uverbs was loaded after rdma_cm: when a device is removed no program hears of it, and the removal hangs",
			"at boot load ib_uverbs before rdma_ucm, e.g. both in this order in /etc/modules-load.d/rdma.conf")
		return
	}
	x.ok("kernel", "", "ib_uverbs was loaded before rdma_cm, so that programs hear of removed devices")
}

// checkDevices lists the kernel's RDMA devices, and says how to get one if there is none.
func (x *exam) checkDevices() {
	var err error
	if x.netdevs, err = x.Netdevs(); err != nil {
		x.bad(Failure, NoNetdevs, "netdev", "", fmt.Sprintf("the network devices cannot be listed: %v", err),
			"allow this process netlink sockets (AF_NETLINK): a sandbox forbids them")
	}
	nodes := map[string]string{}
	for _, node := range x.list("sys/class/infiniband_verbs") {
		if dev := x.read("sys/class/infiniband_verbs", node, "ibdev"); dev != "" {
			nodes[dev] = node
		}
	}
	for _, name := range x.list("sys/class/infiniband") {
		x.devices = append(x.devices, &device{name: name, uverbs: nodes[name], ok: true})
	}
	if len(x.devices) == 0 {
		x.noDevice()
	}
}

func (x *exam) noDevice() {
	const text = "there is no RDMA device"
	if mode, err := x.NetnsMode(); err == nil && mode == "exclusive" {
		x.bad(Failure, NoDevice, "device", "",
			text+" in this network namespace, and RDMA devices are seen in their own one only (netns mode exclusive)",
			"give this namespace a device as root: rdma dev set DEVICE netns NAME; or, before any device is in use: "+
				"rdma system set netns shared")
		return
	}
	netdev := x.proposal()
	link := rxeLink(netdev)
	switch x.rxe() {
	case moduleLoaded:
		x.bad(Failure, NoDevice, "device", "", text, "load the driver of the RDMA NIC, or make a Soft-RoCE device: "+x.asRoot(link))
	case moduleThere:
		x.bad(Failure, NoDevice, "device", "", text,
			"load the driver of the RDMA NIC, or make a Soft-RoCE device: "+x.asRoot("modprobe rdma_rxe && "+link))
	case moduleAbsent:
		x.bad(Failure, NoRxe, "device", "", fmt.Sprintf("%s, and kernel %s has no rdma_rxe to make one in software", text, x.Kernel),
			"load the driver of the RDMA NIC; or boot a kernel with rdma_rxe (on Debian linux-image-amd64, not the cloud "+
				"one) and make one as root: modprobe rdma_rxe && "+link+"; or use Catmint's soft-roce, which runs commands in a "+
				"virtual machine that has one")
	case moduleUnknown:
		x.bad(Failure, NoDevice, "device", "", text,
			"load the driver of the RDMA NIC, or if kernel "+x.Kernel+" has rdma_rxe make a Soft-RoCE device: "+
				x.asRoot("modprobe rdma_rxe && "+link))
	}
}

// rxeLink is the command that makes a Soft-RoCE device on a network device.
func rxeLink(netdev string) string { return "rdma link add rxe0 type rxe netdev " + netdev }

// proposal is the network device on which a Soft-RoCE device would be of most use.
func (x *exam) proposal() string {
	best, points := "NETDEV", -1
	for _, n := range x.netdevs {
		if n.Loopback || !n.Ethernet {
			continue
		}
		p := 0
		for i, yes := range []bool{n.Default, len(usable(n.Addrs)) > 0, n.Up} {
			if yes {
				p += 1 << i
			}
		}
		if p > points {
			best, points = n.Name, p
		}
	}
	return best
}

type moduleState int

const (
	moduleUnknown moduleState = iota // nothing can be said: there is no list of modules here
	moduleAbsent
	moduleThere
	moduleLoaded
)

// rxe says whether this kernel has rdma_rxe.
func (x *exam) rxe() moduleState {
	if x.exists("sys/module/rdma_rxe") {
		return moduleLoaded
	}
	known := false
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		text := x.read("lib/modules", x.Kernel, list)
		known = known || text != ""
		if strings.Contains(text, "/rdma_rxe.ko") {
			return moduleThere
		}
	}
	if known {
		return moduleAbsent
	}
	return moduleUnknown
}

package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The problems that ports, GID tables and network devices can have.
const (
	PortDown     Code = "port-down"
	NoSubnet     Code = "no-subnet-manager"
	NoGID        Code = "no-gid"
	NoRoCEv2     Code = "no-roce-v2"
	AddrNoGID    Code = "address-without-gid"
	NoNetdevs    Code = "no-netdevs"
	OtherNetns   Code = "other-netns"
	NoAddress    Code = "no-address"
	NetdevNoLink Code = "netdev-without-rdma"
	NetdevDown   Code = "netdev-down"
)

// gid is a valid entry of a port's GID table.
type gid struct {
	addr   netip.Addr
	typ    string // such as RoCE v2
	netdev string
}

func (x *exam) ports(d *device) []string {
	ports := x.list("sys/class/infiniband", d.name, "ports")
	slices.SortFunc(ports, func(a, b string) int { return atoi(a) - atoi(b) })
	return ports
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// gids reads a port's GID table. Entries that are not valid read as zeros, or with EINVAL.
func (x *exam) gids(d *device, port string) []gid {
	base := []string{"sys/class/infiniband", d.name, "ports", port}
	file := func(elem ...string) string { return x.read(append(slices.Clone(base), elem...)...) }
	var out []gid
	for _, i := range x.list(append(slices.Clone(base), "gids")...) {
		addr, err := netip.ParseAddr(file("gids", i))
		if err != nil || addr.IsUnspecified() || addr == netip.MustParseAddr("fe80::") {
			continue
		}
		out = append(out, gid{addr.Unmap(), file("gid_attrs", "types", i), file("gid_attrs", "ndevs", i)})
	}
	return out
}

// checkNetdevs finds the network device of d, and whether it is in this namespace.
func (x *exam) checkNetdevs(d *device) {
	var names []string
	for _, port := range x.ports(d) {
		for i := range x.list("sys/class/infiniband", d.name, "ports", port, "gid_attrs", "ndevs") {
			names = append(names, x.read("sys/class/infiniband", d.name, "ports", port, "gid_attrs", "ndevs", strconv.Itoa(i)))
		}
	}
	names = append(names, x.read("sys/class/infiniband", d.name, "parent")) // Soft-RoCE, with an empty table, too
	for _, name := range names {
		if name == "" || d.netdev != "" {
			continue
		}
		d.netdev = name
	}
	if d.netdev == "" || x.netdevs == nil {
		return
	}
	if !slices.ContainsFunc(x.netdevs, func(n Netdev) bool { return n.Name == d.netdev }) {
		d.fail()
		x.bad(Failure, OtherNetns, "netdev", d.netdev,
			fmt.Sprintf("%s runs over %s, which is not in this network namespace: no address of this namespace is its", d.name, d.netdev),
			"run in that namespace: a container with --network=host, or ip netns exec NAME")
	}
}

// checkPorts looks at the state and the GID table of each port.
func (x *exam) checkPorts(d *device) {
	active := false
	for _, port := range x.ports(d) {
		active = x.checkPort(d, port) || active
	}
	if !active {
		d.fail()
	}
}

// checkPort says whether a port can be used.
func (x *exam) checkPort(d *device, port string) bool {
	object := fmt.Sprintf("%s port %s", d.name, port)
	layer := x.read("sys/class/infiniband", d.name, "ports", port, "link_layer")
	state := x.read("sys/class/infiniband", d.name, "ports", port, "state")
	if _, name, ok := strings.Cut(state, ": "); ok { // "4: ACTIVE"
		state = name
	}
	ethernet := layer == "Ethernet"
	switch {
	case state == "ACTIVE":
	case ethernet:
		do := "check cable and switch"
		if d.netdev != "" {
			do = "ip link set " + d.netdev + " up (as root); if it is up already, check cable and switch"
		}
		x.bad(Failure, PortDown, "port", object, fmt.Sprintf("%s is %s: its network device %s has no link", object, state, d.netdev), do)
		return false
	case state == "INIT" || state == "ARMED":
		x.bad(Failure, NoSubnet, "port", object, fmt.Sprintf("%s is %s: no subnet manager has configured it", object, state),
			"start one in the subnet: opensm, or the switch's")
		return false
	default:
		x.bad(Failure, PortDown, "port", object, fmt.Sprintf("%s is %s", object, state), "check cable and switch")
		return false
	}
	x.ok("port", object, "%s is active, %s", object, linkText(layer, d.netdev))
	iWARP := strings.HasPrefix(x.read("sys/class/infiniband", d.name, "node_type"), "4") // RNIC: no GID stands for an address
	return !ethernet || iWARP || x.checkGIDs(d, port, object)
}

func linkText(layer, netdev string) string {
	if netdev == "" {
		return layer
	}
	return layer + " over " + netdev
}

// checkGIDs looks at the GID table of a RoCE port; false: nothing can use it.
func (x *exam) checkGIDs(d *device, port, object string) bool {
	gids := x.gids(d, port)
	v2 := map[netip.Addr]bool{}
	for _, g := range gids {
		if g.typ == "RoCE v2" {
			v2[g.addr] = true
		}
	}
	switch {
	case len(gids) == 0:
		x.bad(Failure, NoGID, "gid", object, object+" has no valid GID: "+d.netdev+" has no address, or is down",
			"ip link set "+d.netdev+" up && ip address add ADDRESS/PREFIX dev "+d.netdev+" (as root)")
		return false
	case len(v2) == 0:
		x.bad(Warning, NoRoCEv2, "gid", object, object+" has GIDs of RoCE v1 only, which is not routed",
			"set the port to RoCE v2, if the NIC has it: its driver's documentation says how")
		return true
	}
	good, here := true, false
	for _, n := range x.netdevs {
		if n.Name != d.netdev {
			continue
		}
		here = true
		for _, a := range usable(n.Addrs) {
			if !v2[a] {
				good = false
				x.bad(Warning, AddrNoGID, "gid", object, fmt.Sprintf("address %s of %s has no GID of RoCE v2 on %s", a, n.Name, object),
					fmt.Sprintf("take the address away and add it again (ip address del, add), or set %s down and up", n.Name))
			}
		}
	}
	if good && here {
		x.ok("gid", object, "%s has %s, one of RoCE v2 for each address of %s", object, count(len(gids), "GID"), d.netdev)
	}
	return true
}

// usable are the addresses that a server can be told to listen on.
func usable(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
	})
}

// checkOtherNetdevs names the network devices whose addresses cannot be used.
func (x *exam) checkOtherNetdevs() {
	rxe := 0
	for _, d := range x.devices {
		if _, n, ok := strings.Cut(d.name, "rxe"); ok {
			rxe = max(rxe, atoi(n)+1)
		}
	}
	for _, n := range x.netdevs {
		addrs := usable(n.Addrs)
		if n.Loopback || len(addrs) == 0 || x.serves(n.Name) != "" || len(x.devices) == 0 {
			continue
		}
		do := "nothing, unless its addresses are to be used"
		if n.Ethernet {
			do = fmt.Sprintf("if it is to be used: rdma link add rxe%d type rxe netdev %s (as root, with rdma_rxe)", rxe, n.Name)
		}
		x.bad(Note, NetdevNoLink, "netdev", n.Name,
			fmt.Sprintf("%s has no RDMA device: its address %s cannot be used", n.Name, addrs[0]), do)
	}
}

// serves is the RDMA device of a network device, "" if there is none.
func (x *exam) serves(netdev string) string {
	for _, d := range x.devices {
		if d.netdev == netdev {
			return d.name
		}
	}
	if dev, err := x.Served(netdev); err == nil {
		return dev
	}
	return ""
}

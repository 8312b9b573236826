package roce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"catmint/soft-roce/internal/wire"
)

// pollInterval is how often sysfs is looked at: the kernel announces changes of a port's GID table
// only to verbs users, and this process is none.
const pollInterval = 5 * time.Millisecond

// Loopback brings the loopback device up.
func Loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// Network makes the network device called NetDevice ready: a veth pair of ours or the card that is
// there, with its MTU and addresses, up, and with no duplicate address detection to wait for.
func Network(n wire.Net) error {
	if n.Peered {
		if err := renameCard(); err != nil {
			return err
		}
	} else if err := addPair(n.MTU); err != nil {
		return err
	}
	link, err := netlink.LinkByName(NetDevice)
	if err != nil {
		return fmt.Errorf("network device %s: %w", NetDevice, err)
	}
	if n.Peered {
		if err := netlink.LinkSetMTU(link, n.MTU); err != nil {
			return fmt.Errorf("set MTU %d on %s: %w", n.MTU, NetDevice, err)
		}
	}
	// The link-local address is made when the device comes up: no detection for it either.
	dad := filepath.Join("/proc/sys/net/ipv6/conf", NetDevice, "accept_dad")
	if err := os.WriteFile(dad, []byte("0"), 0o644); err != nil {
		return fmt.Errorf("switch off duplicate address detection: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", NetDevice, err)
	}
	for _, cidr := range []string{n.Addr, n.Addr6} {
		addr, err := netlink.ParseAddr(cidr)
		if err != nil {
			return fmt.Errorf("address %s: %w", cidr, err)
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s to %s: %w", cidr, NetDevice, err)
		}
	}
	return nil
}

func addPair(mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = NetDevice, mtu
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: PeerDevice}); err != nil {
		return fmt.Errorf("make veth pair %s-%s: %w", NetDevice, PeerDevice, err)
	}
	peer, err := netlink.LinkByName(PeerDevice)
	if err != nil {
		return fmt.Errorf("veth pair: %w", err)
	}
	if err := netlink.LinkSetUp(peer); err != nil {
		return fmt.Errorf("bring %s up: %w", PeerDevice, err)
	}
	return nil
}

// renameCard gives the only Ethernet card that is there our name for it.
func renameCard() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list network devices: %w", err)
	}
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Flags&net.FlagLoopback != 0 || len(attrs.HardwareAddr) != 6 {
			continue
		}
		if attrs.Name == NetDevice {
			return nil
		}
		if err := netlink.LinkSetName(link, NetDevice); err != nil {
			return fmt.Errorf("rename %s to %s: %w", attrs.Name, NetDevice, err)
		}
		return nil
	}
	return errors.New("this guest has no network card (virtio_net not loaded?)")
}

// AddDevice puts the rxe device on NetDevice and waits until its port is active and its GID table
// has an entry for each of the addresses in n, which is later than the device's appearance.
func AddDevice(ctx context.Context, n wire.Net) error {
	if err := netlink.RdmaLinkAdd(Device, "rxe", NetDevice); err != nil {
		hint := ""
		if errors.Is(err, unix.ENOENT) {
			hint = " (rdma_rxe needs the module crc32_generic)"
		}
		return fmt.Errorf("rdma link add %s type rxe netdev %s: %w%s", Device, NetDevice, err, hint)
	}
	want, err := gidsOf(n)
	if err != nil {
		return err
	}
	return waitPort(ctx, portFolder(Device), carrierFile(NetDevice), want)
}

// Remove takes away what AddDevice and Network made. It goes on after an error and returns the
// first; what is not there is no error.
func Remove() error {
	var first error
	keep := func(what string, err error) {
		if err != nil && !errors.Is(err, unix.ENODEV) && first == nil {
			first = fmt.Errorf("%s: %w", what, err)
		}
	}
	if exists(filepath.Join("/sys/class/infiniband", Device)) {
		keep("remove "+Device, netlink.RdmaLinkDel(Device))
	}
	link, err := netlink.LinkByName(NetDevice)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
	case err != nil:
		keep("find "+NetDevice, err)
	default:
		keep("remove "+NetDevice, netlink.LinkDel(link))
	}
	return first
}

func carrierFile(device string) string { return filepath.Join("/sys/class/net", device, "carrier") }

func portFolder(device string) string {
	return filepath.Join("/sys/class/infiniband", device, "ports/1")
}

// gidsOf returns the GIDs that n's addresses must have, written as sysfs writes them: IPv4
// addresses are mapped into IPv6.
func gidsOf(n wire.Net) ([]string, error) {
	var gids []string
	for _, cidr := range []string{n.Addr, n.Addr6} {
		ip, _, err := net.ParseCIDR(cidr)
		if err != nil {
			return nil, err
		}
		gids = append(gids, formatGID(ip.To16()))
	}
	return gids, nil
}

func formatGID(ip net.IP) string {
	var b strings.Builder
	for i := 0; i < net.IPv6len; i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02x%02x", ip[i], ip[i+1])
	}
	return b.String()
}

// waitPort waits until the network device has carrier, the port is active and has all the GIDs in
// want.
func waitPort(ctx context.Context, folder, carrier string, want []string) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		missing := missingFromPort(folder, carrier, want)
		if missing == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("RDMA port %s: still no %s: %w", folder, missing, ctx.Err())
		}
	}
}

func missingFromPort(folder, carrier string, want []string) string {
	if up, err := os.ReadFile(carrier); err != nil || strings.TrimSpace(string(up)) != "1" {
		return "carrier"
	}
	state, err := os.ReadFile(filepath.Join(folder, "state"))
	if err != nil || !strings.Contains(string(state), "ACTIVE") {
		return "active state"
	}
	have := make(map[string]bool)
	files, _ := filepath.Glob(filepath.Join(folder, "gids/*"))
	for _, file := range files {
		if gid, err := os.ReadFile(file); err == nil {
			have[strings.TrimSpace(string(gid))] = true
		}
	}
	for _, gid := range want {
		if !have[gid] {
			return "GID " + gid
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

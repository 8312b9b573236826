package rdma

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/Mellanox/rdmamap"
	"github.com/vishvananda/netlink"
)

// ipoibAddrLen is the length of an IPoIB hardware address, RFC 4391 section 9.1.1; its
// last eight bytes are what rdmamap compares.
const ipoibAddrLen = 20

// NetdevDevice returns the name of the RDMA device that serves a network device: the
// first one whose GID table names it, or for IPoIB the one with its port's GUID.
//
// Errors: ENXIO without such a network device, ENODEV if no RDMA device serves it.
func NetdevDevice(netdev string) (string, error) {
	op := "find RDMA device of " + netdev
	link, err := netlink.LinkByName(netdev)
	if err != nil {
		var notFound netlink.LinkNotFoundError
		if errors.As(err, &notFound) {
			err = syscall.ENXIO
		}
		return "", &OpError{Op: op, Err: err}
	}
	if a := link.Attrs(); a.EncapType == "infiniband" && len(a.HardwareAddr) != ipoibAddrLen {
		return "", errnoError(op, "", int(syscall.ENODEV)) // rdmamap would panic
	}
	device, err := rdmamapDevice(netdev)
	if err != nil || device == "" {
		// Its errors carry no cause: everything that is not found looks the same.
		return "", errnoError(op, "", int(syscall.ENODEV))
	}
	return device, nil
}

// rdmamapDevice turns a panic of rdmamap (it has one for an empty node_guid) into an
// error.
func rdmamapDevice(netdev string) (device string, err error) {
	defer func() {
		if p := recover(); p != nil {
			device, err = "", fmt.Errorf("rdmamap: %v", p)
		}
	}()
	return rdmamap.GetRdmaDeviceForNetdevice(netdev)
}

// AddrDevice returns the network device that has the local address addr and the RDMA
// device that serves it.
//
// Errors: EADDRNOTAVAIL if addr is not local, ENODEV if no RDMA device serves it; then
// netdev is set all the same.
func AddrDevice(addr netip.Addr) (device, netdev string, err error) {
	netdev, err = addrNetdev(addr)
	if err != nil {
		return "", "", err
	}
	device, err = NetdevDevice(netdev)
	return device, netdev, err
}

func addrNetdev(addr netip.Addr) (string, error) {
	op := fmt.Sprintf("find network device of %v", addr)
	want := addr.Unmap().WithZone("")
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", &OpError{Op: op, Err: err}
	}
	for _, ifi := range interfaces {
		if zone := addr.Zone(); zone != "" && zone != ifi.Name && zone != fmt.Sprint(ifi.Index) {
			continue
		}
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			ipnet, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			if ip, ok := netip.AddrFromSlice(ipnet.IP); ok && ip.Unmap() == want {
				return ifi.Name, nil
			}
		}
	}
	return "", errnoError(op, "", int(syscall.EADDRNOTAVAIL))
}

// HWCounters reads the hardware counters of a device's port, counted from 1, such as
// sent_pkts and retry_exceeded_err on Soft-RoCE: /sys/class/infiniband/DEVICE/ports/PORT/
// hw_counters. A counter that cannot be read reads 0.
//
// Errors: ENODEV if there is no such device or port, ENOENT if it has no counters.
func HWCounters(device string, port int) (map[string]uint64, error) {
	const op = "read hardware counters"
	if device == "" || strings.ContainsAny(device, "/\x00") || device[0] == '.' {
		return nil, errnoError(op, device, int(syscall.ENODEV))
	}
	entries, err := rdmamapCounters(device, port)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errnoError(op, device, int(syscall.ENODEV))
	}
	if err != nil {
		return nil, &OpError{Op: op, Device: device, Err: err}
	}
	counters := make(map[string]uint64, len(entries))
	for _, e := range entries {
		if e.Name != "lifespan" { // how often the kernel refreshes them, in ms
			counters[e.Name] = e.Value
		}
	}
	if len(counters) == 0 {
		return nil, errnoError(op, device, int(syscall.ENOENT))
	}
	return counters, nil
}

// rdmamapCounters turns a panic of rdmamap into an error.
func rdmamapCounters(device string, port int) (entries []rdmamap.RdmaStatEntry, err error) {
	defer func() {
		if p := recover(); p != nil {
			entries, err = nil, fmt.Errorf("rdmamap: %v", p)
		}
	}()
	return rdmamap.GetRdmaSysfsHwStats(device, port)
}

// HWCounters is the function of that name, for this device.
func (d *device) HWCounters(port int) (map[string]uint64, error) { return HWCounters(d.name, port) }

package rdma

// #include "verbs_shim.h"
import "C"

import (
	"net"
	"syscall"
	"unsafe"
)

// portGID is an entry of a device's GID table with the port that it belongs to.
type portGID struct {
	GID
	port int
}

// GIDs implements [Device] with ibv_query_gid_table(3).
func (d *device) GIDs(port int) ([]GID, error) {
	const op = "query GID table"
	if port < 1 || port > d.attr.NumPorts {
		return nil, errnoError(op, d.name, int(syscall.EINVAL))
	}
	if err := devices.hold(d, op); err != nil {
		return nil, err
	}
	defer devices.unhold(d)
	all, err := queryGIDs(d.ctx, d.name, gidTableSize(d.ctx, d.attr.NumPorts))
	if err != nil {
		return nil, err
	}
	var gids []GID
	for _, g := range all {
		if g.port == port {
			gids = append(gids, g.GID)
		}
	}
	return gids, nil
}

// gidTableSize is how many entries the tables of all ports have room for.
func gidTableSize(ctx *C.struct_ibv_context, ports int) int {
	size := 0
	for port := 1; port <= ports; port++ {
		var attr C.struct_ibv_port_attr
		if C.catmint_query_port(ctx, C.uint8_t(port), &attr) == 0 {
			size += int(attr.gid_tbl_len)
		}
	}
	return size
}

// queryGIDs reads the valid entries of all ports.
func queryGIDs(ctx *C.struct_ibv_context, device string, size int) ([]portGID, error) {
	if size == 0 {
		return nil, nil
	}
	entries := make([]C.struct_ibv_gid_entry, size)
	var n C.size_t
	if errno := C.catmint_query_gid_table(ctx, &entries[0], C.size_t(size), &n); errno != 0 {
		return nil, errnoError("query GID table", device, int(errno))
	}
	gids := make([]portGID, n)
	netdevs := map[C.uint32_t]string{0: ""}
	for i := range gids {
		e := &entries[i]
		netdev, ok := netdevs[e.ndev_ifindex]
		if !ok {
			if ifi, err := net.InterfaceByIndex(int(e.ndev_ifindex)); err == nil {
				netdev = ifi.Name
			}
			netdevs[e.ndev_ifindex] = netdev
		}
		gids[i] = portGID{
			GID: GID{
				Index:  int(e.gid_index),
				Raw:    *(*[16]byte)(unsafe.Pointer(&e.gid)),
				Type:   GIDType(e.gid_type),
				Netdev: netdev,
			},
			port: int(e.port_num),
		}
	}
	return gids, nil
}

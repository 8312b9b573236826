package rdma

// #include <stdlib.h>
// #include "verbs_shim.h"
import "C"

import (
	"encoding/binary"
	"sync"
	"syscall"
	"unsafe"
)

// device implements [Device] with an ibv_context that librdmacm opened and keeps; see
// deviceRegistry for its life.
type device struct {
	name    string
	ctx     *C.struct_ibv_context
	attr    DeviceAttr
	links   []LinkLayer // of its ports
	removed chan struct{}

	// Guarded by the registry's lock.
	users int   // open objects made from it
	gone  bool  // dropped by the registry: ctx must not be used any more
	watch *cmID // bound to the device so that its removal is announced; may be nil
	home  *removalWatch
	async *asyncReader

	removeOnce sync.Once

	mu       sync.Mutex
	handlers map[int]func(AsyncEvent)
	nextKey  int
}

// Name implements [Device].
func (d *device) Name() string { return d.name }

// Attr implements [Device].
func (d *device) Attr() DeviceAttr { return d.attr }

// Removed implements [Device].
func (d *device) Removed() <-chan struct{} { return d.removed }

// ethernet tells whether a port, counted from 1, is known to be one of Ethernet.
func (d *device) ethernet(port int) bool {
	return port >= 1 && port <= len(d.links) && d.links[port-1] == LinkLayerEthernet
}

func (d *device) markRemoved() { d.removeOnce.Do(func() { close(d.removed) }) }

// with runs a query that keeps the context alive meanwhile, and types its error.
func (d *device) with(op string, f func() C.int) error {
	if err := devices.hold(d, op); err != nil {
		return err
	}
	defer devices.unhold(d)
	return errnoError(op, d.name, int(f()))
}

// Port implements [Device]. EINVAL: no such port.
func (d *device) Port(n int) (PortAttr, error) {
	const op = "query port"
	if n < 1 || n > d.attr.NumPorts {
		return PortAttr{}, errnoError(op, d.name, int(syscall.EINVAL))
	}
	var c C.struct_ibv_port_attr
	err := d.with(op, func() C.int {
		return C.catmint_query_port(d.ctx, C.uint8_t(n), &c)
	})
	if err != nil {
		return PortAttr{}, err
	}
	return PortAttr{
		State:       PortState(c.state),
		LinkLayer:   LinkLayer(c.link_layer),
		MaxMTU:      MTU(c.max_mtu),
		ActiveMTU:   MTU(c.active_mtu),
		GIDTableLen: int(c.gid_tbl_len),
		MaxMsgSize:  uint32(c.max_msg_sz),
		LID:         uint16(c.lid),
		ActiveWidth: uint8(c.active_width),
		ActiveSpeed: uint8(c.active_speed),
	}, nil
}

func goDeviceAttr(c *C.struct_ibv_device_attr) DeviceAttr {
	return DeviceAttr{
		FWVer:           C.GoString(&c.fw_ver[0]),
		NodeGUID:        goGUID(c.node_guid),
		SysImageGUID:    goGUID(c.sys_image_guid),
		VendorID:        uint32(c.vendor_id),
		VendorPartID:    uint32(c.vendor_part_id),
		HWVer:           uint32(c.hw_ver),
		NumPorts:        int(c.phys_port_cnt),
		MaxMRSize:       uint64(c.max_mr_size),
		PageSizeCap:     uint64(c.page_size_cap),
		MaxQP:           int(c.max_qp),
		MaxQPWR:         int(c.max_qp_wr),
		MaxSGE:          int(c.max_sge),
		MaxSGERd:        int(c.max_sge_rd),
		MaxCQ:           int(c.max_cq),
		MaxCQE:          int(c.max_cqe),
		MaxMR:           int(c.max_mr),
		MaxPD:           int(c.max_pd),
		MaxQPRdAtom:     int(c.max_qp_rd_atom),
		MaxQPInitRdAtom: int(c.max_qp_init_rd_atom),
		MaxResRdAtom:    int(c.max_res_rd_atom),
		MaxSRQ:          int(c.max_srq),
		MaxSRQWR:        int(c.max_srq_wr),
		MaxSRQSGE:       int(c.max_srq_sge),
		MaxPKeys:        int(c.max_pkeys),
		LocalCAAckDelay: uint8(c.local_ca_ack_delay),
	}
}

// goGUID takes a __be64 as it lies in memory.
func goGUID(be C.__be64) GUID {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(be))
	return GUID(binary.BigEndian.Uint64(b[:]))
}

// queryDevice reads the attributes of an open context.
func queryDevice(ctx *C.struct_ibv_context) (DeviceAttr, error) {
	var c C.struct_ibv_device_attr
	if errno := C.ibv_query_device(ctx, &c); errno != 0 {
		return DeviceAttr{}, errnoError("query device", deviceName(ctx.device), int(errno))
	}
	attr := goDeviceAttr(&c)
	attr.Transport = TransportType(ctx.device.transport_type)
	return attr, nil
}

// queryLinks reads the link layers of the ports of an open context; of one that does not say it,
// it is unspecified.
func queryLinks(ctx *C.struct_ibv_context, ports int) []LinkLayer {
	links := make([]LinkLayer, ports)
	for i := range links {
		var c C.struct_ibv_port_attr
		if C.catmint_query_port(ctx, C.uint8_t(i+1), &c) == 0 {
			links[i] = LinkLayer(c.link_layer)
		}
	}
	return links
}

func deviceName(dev *C.struct_ibv_device) string { return C.GoString(C.ibv_get_device_name(dev)) }

// DeviceProbe is a device that libibverbs lists, and what came of opening it. A device that
// the kernel has and libibverbs does not list lacks its provider library.
type DeviceProbe struct {
	Name string
	Info DeviceInfo // valid if Err is nil
	Err  error
}

// ProbeDevices lists the devices of this machine that libibverbs knows, those that cannot be
// opened included. It opens and closes each.
func ProbeDevices() ([]DeviceProbe, error) {
	var list **C.struct_ibv_device
	var n C.int
	if errno := C.catmint_get_device_list(&list, &n); errno != 0 {
		if syscall.Errno(errno) == syscall.ENOSYS { // the kernel has no RDMA at all
			return nil, nil
		}
		return nil, errnoError(opListDevices, "", int(errno))
	}
	defer C.ibv_free_device_list(list)
	var probes []DeviceProbe
	for _, dev := range unsafe.Slice(list, int(n)) {
		info, err := describeDevice(dev)
		probes = append(probes, DeviceProbe{Name: deviceName(dev), Info: info, Err: err})
	}
	return probes, nil
}

// listDevices describes every device that can be opened.
func listDevices() ([]DeviceInfo, error) {
	probes, err := ProbeDevices()
	if err != nil {
		return nil, err
	}
	var infos []DeviceInfo
	var first error
	for _, p := range probes {
		switch {
		case p.Err == nil:
			infos = append(infos, p.Info)
		case first == nil:
			first = p.Err
		}
	}
	if len(infos) == 0 {
		return nil, first
	}
	return infos, nil
}

func describeDevice(dev *C.struct_ibv_device) (DeviceInfo, error) {
	var ctx *C.struct_ibv_context
	name := deviceName(dev)
	if err := checkNode(C.GoString(&dev.dev_name[0])); err != nil {
		return DeviceInfo{}, &OpError{Op: opOpenDevice, Device: name, Err: err}
	}
	if errno := C.catmint_open_device(dev, &ctx); errno != 0 {
		return DeviceInfo{}, errnoError(opOpenDevice, name, int(errno))
	}
	defer C.ibv_close_device(ctx)
	attr, err := queryDevice(ctx)
	if err != nil {
		return DeviceInfo{}, err
	}
	info := DeviceInfo{
		Name:      name,
		NodeType:  NodeType(dev.node_type),
		Transport: TransportType(dev.transport_type),
		NodeGUID:  attr.NodeGUID,
		NumPorts:  attr.NumPorts,
	}
	gids, err := queryGIDs(ctx, name, gidTableSize(ctx, attr.NumPorts))
	if err != nil {
		return DeviceInfo{}, err
	}
	seen := map[string]bool{"": true}
	for _, g := range gids {
		if !seen[g.Netdev] {
			seen[g.Netdev] = true
			info.Netdevs = append(info.Netdevs, g.Netdev)
		}
	}
	return info, nil
}

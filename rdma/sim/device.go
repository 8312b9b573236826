package sim

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"catmint/rdma"
)

// device implements [rdma.Device].
type device struct {
	host    *Host
	cfg     DeviceConfig
	ctx     *C.struct_ibv_context
	attr    rdma.DeviceAttr
	maxMsg  uint32
	removed chan struct{}

	mu       sync.Mutex
	handlers map[int]func(rdma.AsyncEvent)
	nextKey  int
	reader   *asyncReader
	readers  sync.WaitGroup
}

var _ rdma.Device = (*device)(nil)

func newDevice(h *Host, cfg DeviceConfig) *device {
	attr := C.struct_sim_device_attr{
		max_msg_sz:     C.uint64_t(cfg.MaxMsgSize),
		max_mr_bytes:   C.uint64_t(cfg.MaxMRBytes),
		max_qp:         C.uint32_t(cfg.MaxQP),
		max_cqe:        C.uint32_t(cfg.MaxCQE),
		max_qp_wr:      C.uint32_t(cfg.MaxQPWR),
		max_sge:        C.uint32_t(cfg.MaxSGE),
		max_inline:     C.uint32_t(cfg.MaxInline),
		max_qp_rd_atom: C.uint32_t(cfg.MaxQPRdAtom),
		iwarp:          C.bool(cfg.IWARP),
	}
	name := C.CString(cfg.Name)
	defer C.free(unsafe.Pointer(name))
	d := &device{
		host: h, cfg: cfg, removed: make(chan struct{}),
		handlers: make(map[int]func(rdma.AsyncEvent)),
	}
	if errno := C.sim_device_create(h.net.fabric, name, &attr, &d.ctx); errno != 0 {
		panic("sim: cannot make a device: " + syscall.Errno(errno).Error())
	}
	C.sim_device_query(d.ctx, &attr)
	d.maxMsg = uint32(min(uint64(attr.max_msg_sz), 1<<31))
	d.attr = rdma.DeviceAttr{
		FWVer:           "sim",
		NodeGUID:        guid(h.name, cfg.Name),
		SysImageGUID:    guid(h.name),
		NumPorts:        1,
		MaxMRSize:       uint64(attr.max_mr_size),
		PageSizeCap:     0xfffff000,
		MaxQP:           int(attr.max_qp),
		MaxQPWR:         int(attr.max_qp_wr),
		MaxSGE:          int(attr.max_sge),
		MaxSGERd:        int(attr.max_sge),
		MaxCQ:           int(attr.max_cq),
		MaxCQE:          int(attr.max_cqe),
		MaxMR:           int(attr.max_mr),
		MaxPD:           int(attr.max_pd),
		MaxQPRdAtom:     int(attr.max_qp_rd_atom),
		MaxQPInitRdAtom: int(attr.max_qp_rd_atom),
		MaxResRdAtom:    int(attr.max_qp_rd_atom) * int(attr.max_qp),
		MaxPKeys:        1,
		LocalCAAckDelay: 15,
	}
	if cfg.IWARP {
		d.attr.Transport = rdma.TransportIWARP
	}
	return d
}

// Name implements [rdma.Device].
func (d *device) Name() string { return d.cfg.Name }

// Attr implements [rdma.Device].
func (d *device) Attr() rdma.DeviceAttr { return d.attr }

// Removed implements [rdma.Device].
func (d *device) Removed() <-chan struct{} { return d.removed }

// Port implements [rdma.Device]. EINVAL: a port other than 1.
func (d *device) Port(n int) (rdma.PortAttr, error) {
	if n != 1 {
		return rdma.PortAttr{}, opError("query port", d.cfg.Name, syscall.EINVAL)
	}
	return rdma.PortAttr{
		State:       rdma.PortActive,
		LinkLayer:   rdma.LinkLayerEthernet,
		MaxMTU:      rdma.MTU4096,
		ActiveMTU:   rdma.MTU1024,
		GIDTableLen: 1024,
		MaxMsgSize:  d.maxMsg,
		ActiveWidth: 1,
		ActiveSpeed: 1,
	}, nil
}

// GIDs implements [rdma.Device]: one RoCE v2 entry for each address.
func (d *device) GIDs(port int) ([]rdma.GID, error) {
	if port != 1 {
		return nil, opError("query GIDs", d.cfg.Name, syscall.EINVAL)
	}
	gids := make([]rdma.GID, 0, len(d.cfg.Addrs))
	for i, p := range d.cfg.Addrs {
		gids = append(gids, rdma.GID{
			Index:  i,
			Raw:    netip.AddrFrom16(p.Addr().As16()).As16(),
			Type:   rdma.GIDTypeRoCEv2,
			Netdev: d.cfg.Netdev,
		})
	}
	return gids, nil
}

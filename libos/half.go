package libos

import (
	"errors"
	"fmt"
	"syscall"

	"catmint/datapath"
	"catmint/rdma"
)

// half is what a connection of the data plane is made of before there is an id for it: a
// queue pair in INIT with every receive posted. Making one blocks; giving it to an id does not.
type half struct {
	e      *Engine
	dev    *device
	port   int // of the device
	qp     rdma.QP
	dp     *datapath.Conn
	cookie uint64
	// made is told when the queue pair is there, before its receives are posted.
	made func()
}

// errNoRoom: the room that was found in a completion queue is gone again.
var errNoRoom = fmt.Errorf("completion queue is full: %w", syscall.EAGAIN)

// newHalf makes a half on a device's port. EAGAIN: queue pairs or completion queues are used
// up; ENOMEM: locked memory is. made may be nil.
func (e *Engine) newHalf(rdev rdma.Device, port int, made func()) (*half, error) {
	cfg := e.cfg
	dev, err := e.device(rdev)
	if err != nil {
		return nil, err
	}
	attr := rdev.Attr()
	caps := rdma.QPCaps{
		MaxSendWR: cfg.SendDepth, MaxRecvWR: max(cfg.DataWindow, cfg.MaxDataWindow) + cfg.CtrlWindow, MaxSendSGE: 2, MaxRecvSGE: 1, MaxInlineData: cfg.MaxInline,
	}
	if n := uint32(attr.MaxQPWR); n != 0 {
		caps.MaxSendWR, caps.MaxRecvWR = min(caps.MaxSendWR, n), min(caps.MaxRecvWR, n)
	}
	h := &half{e: e, dev: dev, port: port, made: made}
	// A window that grows just now may take the last room in the CQ that was found: try again
	// with another one.
	for try := 0; ; try++ {
		err = h.create(caps)
		if !errors.Is(err, errNoRoom) || try == 2 {
			break
		}
	}
	if err != nil {
		e.put(dev)
		return nil, err
	}
	return h, nil
}

func (h *half) create(caps rdma.QPCaps) error {
	e, cfg := h.e, h.e.cfg
	cq, err := e.findCQ(h.dev, int(caps.MaxSendWR+cfg.DataWindow+cfg.CtrlWindow), int(caps.MaxSendWR+caps.MaxRecvWR))
	if err != nil {
		return err
	}
	defer cq.release()
	init := rdma.QPInitAttr{SendCQ: cq.cq, RecvCQ: cq.cq, Caps: caps, SendOps: h.dev.sendOps}
	qp, err := h.dev.rdev.CreateQP(h.dev.pd, h.port, init)
	if errno(err) == syscall.EINVAL && caps.MaxInlineData != 0 { // more inline data than the device has
		init.Caps.MaxInlineData = 0
		qp, err = h.dev.rdev.CreateQP(h.dev.pd, h.port, init)
	}
	if err != nil {
		switch errno(err) {
		case syscall.ENOMEM, syscall.ENOSPC, syscall.EBUSY, syscall.EMFILE:
			return fmt.Errorf("%w: %w", syscall.EAGAIN, err)
		default:
			return err
		}
	}
	if h.made != nil {
		h.made()
	}
	got := qp.Caps()
	// A stale connection is tried again with everything new, the name included.
	h.cookie = e.nextCookie()
	dp, err := datapath.NewConn(datapath.ConnParams{
		Engine: e.dp, Device: h.dev.dp, CQ: cq.dp, QP: qp.Handle(), QPX: qp.Extended(),
		// Providers round depths up; more than was asked for has no room in the CQ that was found.
		SendDepth: min(got.MaxSendWR, caps.MaxSendWR), RecvDepth: got.MaxRecvWR, MaxInline: got.MaxInlineData,
		Local: cfg.limits(readsOut(h.dev.rdev)), MaxDataWindow: cfg.MaxDataWindow, Cookie: h.cookie,
	})
	if err != nil {
		if cerr := qp.Close(); cerr != nil {
			e.log.Error("destroy queue pair", "err", cerr)
		}
		if errors.Is(err, syscall.EAGAIN) {
			return errNoRoom
		}
		return fmt.Errorf("post receives: %w", err)
	}
	h.qp, h.dp = qp, dp
	return nil
}

// destroy releases a half that no connection has used.
func (h *half) destroy() {
	err := h.qp.Close()
	if err == nil {
		err = errors.Join(h.dp.QPDestroyed(), h.dp.Destroy())
	}
	if err != nil {
		h.e.stats.leaks.Add(1)
		h.e.log.Error("destroy unused queue pair", "device", h.dev.rdev.Name(), "err", err)
	}
	h.e.put(h.dev)
}

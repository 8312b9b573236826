package libos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"

	"catmint/datapath"
	"catmint/libos/hello"
	"catmint/rdma"
)

// The timers and retries of every connection. Soft-RoCE takes a retry count of 7 as for
// ever; with working credits the receiver is never not ready, so that waits for ever.
//
// The kernel's ACK timeout for RoCE is 0.54 s, so that a queue pair would break when the network
// fails for 4 s; twice as much lets it live for 7.5 s, and costs half a second more when the last
// packet of a burst is lost.
const (
	ackTimeout    = 18 // 4.096 us * 2^18 = 1.07 s
	retryCount    = 6
	rnrRetryCount = 7
	minRNRTimer   = 12 // 0.64 ms, IBTA vol. 1 table 45; RDMA CM leaves 655 ms
	maxReadDepth  = 16 // READs under way at once
)

// dataEndpoint is the endpoint of a socket: its queue pair belongs to the data plane.
type dataEndpoint struct {
	e      *Engine
	s      *Socket
	c      *conn
	qd     int32
	dev    *device
	qp     rdma.QP
	dp     *datapath.Conn
	cookie uint64

	offer hello.Hello // what we offered, or the peer did
	peer  hello.Hello
	ask   rdma.Event // passive: the request

	readsIn, readsOut uint8 // RDMA READs at once that the device allows us to answer, to make
	depth             uint8 // READs that we may have under way, as agreed on
}

func (s *Socket) newDataEndpoint() *dataEndpoint {
	return &dataEndpoint{e: s.e, s: s, qd: s.qd}
}

// create makes the queue pair and the data plane's half. EAGAIN: queue pairs or completion
// queues are used up; ENOMEM: locked memory is.
func (d *dataEndpoint) create(id rdma.ID) error {
	cfg := d.e.cfg
	rdev := id.Device()
	if rdev == nil {
		return fmt.Errorf("id without a device: %w", syscall.ENODEV)
	}
	dev, err := d.e.device(rdev)
	if err != nil {
		return err
	}
	attr := rdev.Attr()
	d.readsIn = uint8(min(attr.MaxQPRdAtom, maxReadDepth))
	d.readsOut = uint8(min(attr.MaxQPInitRdAtom, maxReadDepth))
	caps := rdma.QPCaps{
		MaxSendWR: cfg.SendDepth, MaxRecvWR: max(cfg.DataWindow, cfg.MaxDataWindow) + cfg.CtrlWindow, MaxSendSGE: 2, MaxRecvSGE: 1, MaxInlineData: cfg.MaxInline,
	}
	if n := uint32(attr.MaxQPWR); n != 0 {
		caps.MaxSendWR, caps.MaxRecvWR = min(caps.MaxSendWR, n), min(caps.MaxRecvWR, n)
	}
	// A window that grows just now may take the last room in the CQ that was found: try again
	// with another one.
	for try := 0; ; try++ {
		err = d.createOn(id, dev, caps)
		if !errors.Is(err, errNoRoom) || try == 2 {
			break
		}
	}
	if err != nil {
		d.e.put(dev)
		return err
	}
	d.dev = dev
	return nil
}

// errNoRoom: the room that was found in a completion queue is gone again.
var errNoRoom = fmt.Errorf("completion queue is full: %w", syscall.EAGAIN)

func (d *dataEndpoint) createOn(id rdma.ID, dev *device, caps rdma.QPCaps) error {
	cfg := d.e.cfg
	cq, err := d.e.findCQ(dev, int(caps.MaxSendWR+cfg.DataWindow+cfg.CtrlWindow), int(caps.MaxSendWR+caps.MaxRecvWR))
	if err != nil {
		return err
	}
	defer cq.release()
	qp, err := id.CreateQP(dev.pd, rdma.QPInitAttr{SendCQ: cq.cq, RecvCQ: cq.cq, Caps: caps})
	if errno(err) == syscall.EINVAL && caps.MaxInlineData != 0 { // more inline data than the device has
		caps.MaxInlineData = 0
		qp, err = id.CreateQP(dev.pd, rdma.QPInitAttr{SendCQ: cq.cq, RecvCQ: cq.cq, Caps: caps})
	}
	if err != nil {
		switch errno(err) {
		case syscall.ENOMEM, syscall.ENOSPC, syscall.EBUSY, syscall.EMFILE:
			return fmt.Errorf("%w: %w", syscall.EAGAIN, err)
		default:
			return err
		}
	}
	d.c.info.mark(phaseQPCreated)
	got := qp.Caps()
	// A stale connection is tried again with everything new, the name included.
	d.cookie = d.e.nextCookie()
	d.e.cookies.Store(d.cookie, d.c)
	dp, err := datapath.NewConn(datapath.ConnParams{
		Engine: d.e.dp, Device: dev.dp, CQ: cq.dp, QP: qp.Handle(),
		// Providers round depths up; more than was asked for has no room in the CQ that was found.
		SendDepth: min(got.MaxSendWR, caps.MaxSendWR), RecvDepth: got.MaxRecvWR, MaxInline: got.MaxInlineData,
		Local: cfg.limits(d.readsOut), MaxDataWindow: cfg.MaxDataWindow, Cookie: d.cookie,
	})
	if err != nil {
		d.e.cookies.Delete(d.cookie)
		if cerr := qp.Close(); cerr != nil {
			d.e.log.Error("destroy queue pair", "err", cerr)
		}
		if errors.Is(err, syscall.EAGAIN) {
			return errNoRoom
		}
		return fmt.Errorf("post receives: %w", err)
	}
	d.qp, d.dp = qp, dp
	d.e.stats.attach(d)
	d.c.info.setQP(qp.Num())
	return nil
}

func (d *dataEndpoint) limits() hello.Hello {
	l := d.e.cfg.limits(d.readsOut)
	return hello.Hello{
		Kind: hello.Offer, MinVersion: hello.MinVersion, MaxVersion: hello.MaxVersion, Features: hello.Known,
		RecvSize: l.RecvSize, DataWindow: l.DataWindow, CtrlWindow: l.CtrlWindow, MaxMessage: l.MaxMessage,
	}
}

func (d *dataEndpoint) request(rdma.ID) rdma.ConnParam {
	d.offer = d.limits()
	d.offer.Nonce = rand.Uint64()
	return rdma.ConnParam{
		PrivateData: d.offer.Marshal(), ResponderResources: d.readsIn, InitiatorDepth: d.readsOut,
		RetryCount: retryCount, RNRRetryCount: rnrRetryCount,
	}
}

func (d *dataEndpoint) answer(ev rdma.Event) error {
	h, err := hello.Parse(ev.PrivateData, hello.Answer)
	if err != nil {
		return err
	}
	if err := h.CheckAnswer(d.offer); err != nil {
		return err
	}
	d.peer = h
	d.depth = min(d.readsOut, ev.InitiatorDepth)
	return nil
}

func (d *dataEndpoint) reply(rdma.ID) rdma.ConnParam {
	d.depth = min(d.readsOut, d.ask.InitiatorDepth)
	return rdma.ConnParam{
		PrivateData:        d.offer.Reply(d.limits()).Marshal(),
		ResponderResources: min(d.readsIn, d.ask.ResponderResources),
		InitiatorDepth:     d.depth,
		RetryCount:         retryCount, RNRRetryCount: rnrRetryCount,
	}
}

func (d *dataEndpoint) attach(id rdma.ID) error {
	if err := d.qp.SetMinRNRTimer(minRNRTimer); err != nil {
		return err
	}
	if err := d.dp.SetPeer(id.RemoteAddr()); err != nil {
		return err
	}
	err := d.dp.Establish(d.qd, datapath.ConnLimits{
		RecvSize: d.peer.RecvSize, DataWindow: d.peer.DataWindow, CtrlWindow: d.peer.CtrlWindow,
		MaxMessage: d.peer.MaxMessage, Reads: uint32(d.depth),
	})
	if err == nil {
		err = d.keepAlive()
	}
	d.e.house.kick()
	return err
}

// keepAlive has the data plane watch over the peer as the socket's options say.
func (d *dataEndpoint) keepAlive() error {
	tick, err := d.dp.KeepAlive(d.s.keepAliveTimes())
	d.e.keeper.want(tick)
	return err
}

func (d *dataEndpoint) sendFIN() error {
	if err := d.dp.CancelPops(); err != nil {
		return err
	}
	err := d.dp.Close(true)
	d.e.house.kick()
	return err
}

func (d *dataEndpoint) cancelPushes() {
	if err := d.dp.CancelPushes(); err != nil {
		d.e.log.Debug("cancel pushes", "err", err)
	}
}

func (d *dataEndpoint) progress() uint64 {
	if d.dp == nil {
		return 0
	}
	return d.dp.Progress()
}

func (d *dataEndpoint) flush(err syscall.Errno) {
	if serr := d.qp.SetError(); serr != nil {
		d.e.log.Debug("move the queue pair to the error state", "err", serr)
	}
	if err == syscall.ECONNRESET {
		err = 0 // unless FIN and FIN_ACK say that the close was orderly, which the data plane knows
	}
	if ferr := d.dp.Disconnected(err); ferr != nil {
		d.e.log.Debug("flush", "err", ferr)
	}
	d.e.house.kick()
}

func (d *dataEndpoint) destroyQP() error {
	err := d.qp.Close()
	if qerr := d.dp.QPDestroyed(); qerr != nil && err == nil {
		err = qerr
	}
	d.qp = nil
	return err
}

func (d *dataEndpoint) destroyConn() error {
	d.e.cookies.Delete(d.cookie)
	err := d.e.stats.detach(d, func() error {
		defer func() { d.dp = nil }()
		return d.dp.Destroy()
	})
	d.e.put(d.dev)
	d.dev = nil
	return err
}

package libos

import (
	"fmt"
	"math/rand/v2"
	"syscall"

	"catmint/datapath"
	"catmint/libos/hello"
	"catmint/rdma"
)

// The timers, of our end, and retries of every connection. Soft-RoCE takes a retry count of 7 as for
// ever; with working credits the receiver is never not ready, so that waits for ever.
//
// The kernel's ACK timeout for RoCE is 0.54 s, so that a queue pair would break when the network
// fails for 4 s; twice as much lets it live for 7.5 s, and costs half a second more when the last
// packet of a burst is lost.
const (
	ackTimeout    = 18 // 4.096 us * 2^18 = 1.07 s
	retryCount    = 6
	rnrRetryCount = 7
	minRNRTimer   = 12 // 0.64 ms, IBTA vol. 1 table 45, for waits that should not be; CM's own is 655 ms
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
	port   int   // of dev
	made   *half // made for us and not ours yet
	spare  bool  // the pool may make one in the place of ours

	unknown bool // what is ours has not been made known, see enrol

	offer hello.Hello // what we offered, or the peer did
	peer  hello.Hello
	ask   rdma.Event // passive: the request

	readsIn, readsOut uint8 // RDMA READs at once that the device allows us to answer, to make
	depth             uint8 // READs that we may have under way, as agreed on
}

// newDataConn makes a connection of the driver's with its endpoint, for the socket. Loop only.
func (s *Socket) newDataConn() (*conn, *dataEndpoint) {
	both := &struct { // one allocation
		conn conn
		ep   dataEndpoint
	}{ep: dataEndpoint{e: s.e, s: s, qd: s.qd}}
	c, ep := &both.conn, &both.ep
	ep.c = c
	s.e.beginConn(c, ep, s)
	return c, ep
}

// pooled takes a queue pair that was made ahead, if there is one.
func (d *dataEndpoint) pooled(id rdma.ID) bool {
	h := d.e.pool.take(id.Device(), id.Port())
	if h == nil {
		return false
	}
	d.made = h
	return d.adopt(id) == nil
}

// create makes the queue pair and the data plane's half. EAGAIN: queue pairs or completion
// queues are used up; ENOMEM: locked memory is.
func (d *dataEndpoint) create(id rdma.ID) error {
	rdev := id.Device()
	if rdev == nil {
		return fmt.Errorf("id without a device: %w", syscall.ENODEV)
	}
	h, err := d.e.newHalf(rdev, id.Port(), func() { d.c.info.mark(phaseQPCreated) })
	d.made = h
	return err
}

// adopt gives what has been made to the id; on an error it is released.
func (d *dataEndpoint) adopt(id rdma.ID) error {
	h := d.made
	d.made = nil
	if err := id.TakeQP(h.qp); err != nil {
		h.destroy()
		return err
	}
	attr := id.Device().Attr()
	d.readsIn = uint8(min(attr.MaxQPRdAtom, maxReadDepth))
	d.readsOut = readsOut(id.Device())
	d.dev, d.port, d.qp, d.dp, d.cookie = h.dev, h.port, h.qp, h.dp, h.cookie
	d.spare, d.unknown = true, true
	return nil
}

// enrol makes known what adopt has taken. That can wait until the peer has been asked, as long as
// it is done before anything is to be heard of the queue pair.
func (d *dataEndpoint) enrol() {
	if !d.unknown {
		return
	}
	d.unknown = false
	d.e.cookies[d.cookie] = d.c
	d.e.stats.attach(d)
	d.c.info.setQP(d.qp.Num())
}

// sent uses the time until the peer answers.
func (d *dataEndpoint) sent(id rdma.ID) {
	d.enrol()
	if err := d.dp.SetPeer(id.RemoteAddr()); err != nil {
		d.e.log.Error("set the peer's address", "err", err)
	}
}

// readsOut is how many RDMA READs at once a device makes.
func readsOut(dev rdma.Device) uint8 { return uint8(min(dev.Attr().MaxQPInitRdAtom, maxReadDepth)) }

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
		RetryCount: retryCount, RNRRetryCount: rnrRetryCount, AckTimeout: ackTimeout, MinRNRTimer: minRNRTimer,
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
		AckTimeout: ackTimeout, MinRNRTimer: minRNRTimer,
	}
}

// attach does what whoever waits for the connection needs; settle, on the loop's next turn, what
// nobody waits for.
func (d *dataEndpoint) attach(rdma.ID) error {
	err := d.dp.Establish(d.qd, datapath.ConnLimits{
		RecvSize: d.peer.RecvSize, DataWindow: d.peer.DataWindow, CtrlWindow: d.peer.CtrlWindow,
		MaxMessage: d.peer.MaxMessage, Reads: uint32(d.depth),
	})
	if errno(err) == syscall.EINVAL && !d.s.open() {
		err = syscall.ECANCELED // closed just now; the state machine will hear of it next
	}
	d.e.loop.postLater(d.settle)
	return err
}

// settle ends the set-up of a connection, behind the back of its user.
func (d *dataEndpoint) settle() {
	d.e.house.kick()
	if d.qp != nil {
		if err := d.keepAlive(); err != nil {
			d.e.log.Error("set the keepalive", "err", err)
		}
	}
	d.refill()
}

// refill has the pool replace the queue pair that is ours, once.
func (d *dataEndpoint) refill() {
	if d.spare {
		d.spare = false
		d.e.pool.refill(d.dev.rdev, d.port)
	}
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
	d.enrol()
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
	d.refill()
	return err
}

func (d *dataEndpoint) destroyConn() error {
	delete(d.e.cookies, d.cookie)
	err := d.e.stats.detach(d, func() error {
		defer func() { d.dp = nil }()
		return d.dp.Destroy()
	})
	d.e.put(d.dev)
	d.dev = nil
	return err
}

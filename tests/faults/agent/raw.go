package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"catmint/libos/hello"
	"catmint/rdma"
	"catmint/tests/faults/report"
)

// mute is a listener that takes connection requests and never answers one.
type mute struct {
	forget     chan struct{} // drop the requests that came
	quit, done chan struct{}
}

func (m *mute) stop() {
	close(m.quit)
	<-m.done
}

func (a *agent) mute(addr string) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	ch, err := a.fabric.NewEventChannel()
	if err != nil {
		return err
	}
	id, err := ch.CreateID()
	if err == nil {
		if err = id.BindAddr(at); err == nil {
			err = id.Listen(16)
		}
	}
	if err != nil {
		return err
	}
	m := &mute{forget: make(chan struct{}), quit: make(chan struct{}), done: make(chan struct{})}
	a.mutes = append(a.mutes, m)
	go a.sulk(m, ch, id)
	a.say(report.Event{Ev: report.Listening, Conn: "mute"})
	return nil
}

// sulk takes events until it is to stop, or the device goes away.
func (a *agent) sulk(m *mute, ch rdma.EventChannel, listener rdma.ID) {
	defer close(m.done)
	ids := map[rdma.ID]bool{listener: true}
	defer func() {
		var errs []error
		for id := range ids {
			errs = append(errs, id.Close())
		}
		if err := errors.Join(append(errs, ch.Close())...); err != nil {
			a.broken(err)
		}
	}()
	drop := func(id rdma.ID) {
		if err := id.Close(); err != nil {
			a.broken(err)
		}
		delete(ids, id)
	}
	for {
		select {
		case <-m.quit:
			return
		case <-m.forget:
			for id := range ids {
				if id != listener {
					drop(id)
				}
			}
		case <-ch.Readable():
		}
		for {
			ev, ok, err := ch.GetEvent()
			if err != nil {
				a.broken(err)
				return
			}
			if !ok {
				break
			}
			switch ev.Type {
			case rdma.ConnectRequest:
				ids[ev.ID] = true
				a.say(report.Event{Ev: report.Muted, Conn: ev.ID.RemoteAddr().String()})
			case rdma.DeviceRemoval:
				drop(ev.ID)
			default:
				if ev.ID != listener { // the peer has given up
					drop(ev.ID)
				}
			}
		}
	}
}

// halfOpen sends connection requests as a libOS does, and reads no answer to them, so that no
// connection is ever ready to use: librdmacm sends that only when it reports the answer. They last
// until this process is killed.
func (a *agent) halfOpen(c report.Command) error {
	to, err := netip.ParseAddrPort(c.Addr)
	if err != nil {
		return err
	}
	ch, err := a.fabric.NewEventChannel()
	if err != nil {
		return err
	}
	var qpOf func(rdma.ID) error
	ids := make([]rdma.ID, 0, c.N)
	for range c.N {
		id, err := ch.CreateID()
		if err != nil {
			return err
		}
		if err := id.ResolveAddr(netip.AddrPort{}, to, 10*time.Second); err != nil {
			return err
		}
		if err := await(ch, rdma.AddrResolved); err != nil {
			return err
		}
		if qpOf == nil {
			if qpOf, err = queuePairs(id.Device(), c.N); err != nil {
				return err
			}
		}
		if err := qpOf(id); err != nil {
			return err
		}
		if err := id.ResolveRoute(10 * time.Second); err != nil {
			return err
		}
		if err := await(ch, rdma.RouteResolved); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	for i, id := range ids {
		offer := hello.Hello{
			Kind: hello.Offer, MinVersion: hello.MinVersion, MaxVersion: hello.MaxVersion,
			RecvSize: 8192, DataWindow: 4, CtrlWindow: 4, MaxMessage: 1 << 20, Nonce: uint64(i),
		}
		err := id.Connect(rdma.ConnParam{
			PrivateData: offer.Marshal(), ResponderResources: 1, InitiatorDepth: 1, RetryCount: 6, RNRRetryCount: 7,
		})
		if err != nil {
			return err
		}
	}
	a.say(report.Event{Ev: report.Half, N: len(ids)})
	return nil
}

// await takes the one event that may come now.
func await(ch rdma.EventChannel, want rdma.CMEvent) error {
	for {
		ev, ok, err := ch.GetEvent()
		switch {
		case err != nil:
			return err
		case !ok:
			<-ch.Readable()
		case ev.Type != want:
			return fmt.Errorf("%v (%d) instead of %v", ev.Type, ev.Status, want)
		default:
			return nil
		}
	}
}

// queuePairs returns what gives an id a queue pair.
func queuePairs(dev rdma.Device, n int) (func(rdma.ID) error, error) {
	pd, err := dev.AllocPD()
	if err != nil {
		return nil, err
	}
	cq, err := dev.CreateCQ(2*n, nil)
	if err != nil {
		return nil, err
	}
	return func(id rdma.ID) error {
		_, err := id.CreateQP(pd, rdma.QPInitAttr{
			SendCQ: cq, RecvCQ: cq, Caps: rdma.QPCaps{MaxSendWR: 1, MaxRecvWR: 1, MaxSendSGE: 1, MaxRecvSGE: 1},
		})
		return err
	}, nil
}

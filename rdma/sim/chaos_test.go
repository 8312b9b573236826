package sim_test

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
)

// stubborn is an application that copes with everything: it drives one connect to its end
// and says how that was.
func stubborn(l *loop, r *resources, to netip.AddrPort) (rdma.CMEvent, error) {
	id, err := l.ch.CreateID()
	if err != nil {
		return 0, err
	}
	var qp rdma.QP
	defer func() {
		if qp != nil {
			_ = qp.Close()
		}
		_ = id.Close()
	}()
	if err := id.ResolveAddr(netip.AddrPort{}, to, time.Second); err != nil {
		return 0, err
	}
	for {
		ev := l.next()
		switch ev.Type {
		case rdma.AddrResolved:
			err = id.ResolveRoute(time.Second)
		case rdma.RouteResolved:
			if qp, err = id.CreateQP(r.pd, r.attr()); err == nil {
				err = id.Connect(param(""))
			}
		case rdma.Established:
			err = id.Disconnect()
		case rdma.Disconnected, rdma.Rejected, rdma.Unreachable, rdma.ConnectError:
			return ev.Type, nil
		default:
		}
		if err != nil {
			return 0, err
		}
	}
}

// hospitable accepts everything until it is told to stop, and closes what is left then.
func hospitable(l *loop, r *resources, stop <-chan struct{}) error {
	qps := map[rdma.ID]rdma.QP{}
	end := func(id rdma.ID) error {
		qp := qps[id]
		delete(qps, id)
		return errors.Join(qp.Close(), id.Close())
	}
	for {
		ev, ok, err := l.ch.GetEvent()
		if err != nil {
			return err
		}
		if !ok {
			select {
			case <-l.ch.Readable():
				continue
			case <-stop:
				for id := range qps {
					err = errors.Join(err, end(id))
				}
				return err
			}
		}
		switch ev.Type {
		case rdma.ConnectRequest:
			if qps[ev.ID], err = ev.ID.CreateQP(r.pd, r.attr()); err != nil {
				return err
			}
			if ev.ID.Accept(param("")) != nil { // the client has given up
				err = end(ev.ID)
			}
		case rdma.Disconnected:
			err = errors.Join(ev.ID.Disconnect(), end(ev.ID))
		case rdma.Rejected, rdma.Unreachable:
			err = end(ev.ID)
		default:
		}
		if err != nil {
			return err
		}
	}
}

func TestEveryConnectEndsWhateverIsLost(t *testing.T) {
	const clients, rounds = 8, 20
	for seed := range uint64(5) {
		w := newWorld(t, sim.Config{Seed: seed})
		server := w.loop(w.server)
		listener := server.listen("10.0.0.1:1", 4)
		serverResources := newResources(t, listener.Device())
		for _, m := range []sim.MessageType{sim.REQ, sim.REP, sim.RTU, sim.REJ, sim.DREQ, sim.DREP} {
			w.net.When(sim.Message(m)).Always().Chance(0.2).Drop()
			w.net.When(sim.Message(m)).Always().Chance(0.2).Delay(time.Second)
		}
		w.net.When(sim.Message(sim.REQ)).Always().Chance(0.05).Reject(rdma.RejectStaleConn)
		w.net.When(sim.Message(sim.REP)).Always().Chance(0.05).TimeOut()
		w.net.When(sim.Event(rdma.Established)).At(w.server).Always().Chance(0.3).Swap()
		w.net.When(sim.Event(rdma.AddrResolved)).Always().Chance(0.3).Delay(time.Second)

		stop := make(chan struct{})
		var serving, dialing, ticking sync.WaitGroup
		var served error
		serving.Go(func() { served = hospitable(server, serverResources, stop) })
		var mu sync.Mutex
		var failed error
		ends := map[rdma.CMEvent]int{}
		for range clients {
			client := w.loop(w.client)
			bound := client.id()
			require.NoError(t, bound.BindAddr(addr("10.0.0.2:0")))
			r := newResources(t, bound.Device())
			dialing.Go(func() {
				for range rounds {
					how, err := stubborn(client, r, addr("10.0.0.1:1"))
					mu.Lock()
					ends[how]++
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			})
		}
		ticked := make(chan struct{})
		ticking.Go(func() {
			for {
				select {
				case <-ticked:
					return
				default:
					w.net.Advance(time.Second)
				}
			}
		})
		dialing.Wait()
		close(ticked)
		ticking.Wait()
		close(stop)
		serving.Wait()
		require.NoError(t, errors.Join(served, failed))
		require.Positive(t, ends[rdma.Disconnected], "most succeed")
		require.Positive(t, ends[rdma.Rejected], "some are refused")
		total := 0
		for _, n := range ends {
			total += n
		}
		require.Equal(t, clients*rounds, total)
	}
}

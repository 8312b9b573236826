package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"catmint/soft-roce/testbed"
	"catmint/tests/faults/report"
)

// killed: the kernel closes what the dead process had open, so the peer is told at once.
func killed(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, true)
	if err != nil {
		return err
	}
	if err := d.strike(d.a.kill); err != nil {
		return err
	}
	err = o.judge(ctx, d.b, d.faultB, d.at, connections, []string{toMute},
		with(data(keepAlive, "ECONNRESET"), report.KindConnect, connectTimeout, "ECONNREFUSED"))
	if err != nil {
		return err
	}
	o.sayLost(acknowledged(d.b, d.faultB))
	if err := d.b.released(ctx, d.warm[1]); err != nil {
		return err
	}
	// The survivor serves and is served.
	fresh, err := l.side(ctx, l.bed.A(), 16, 2)
	if err != nil {
		return err
	}
	if err := both(ctx, fresh, d.b); err != nil {
		return err
	}
	return o.finish(ctx, l, d.start, fresh.node, d.b.node)
}

// both has each side connect to the other one and exchange messages.
func both(ctx context.Context, a, b *side) error {
	return errors.Join(exchange(ctx, a.node, b, "a to b"), exchange(ctx, b.node, a, "b to a"))
}

// cut has every packet between the hosts be lost, as when a switch between them dies. Neither host
// sees its own carrier go; carrierLost is about that.
func (l *lab) cut(ctx context.Context) error {
	return l.onBoth(func(h *testbed.Host) error { return netem(ctx, h, lossAll) })
}

func (l *lab) mend(ctx context.Context) error {
	return l.onBoth(func(h *testbed.Host) error { return netem(ctx, h, nothing) })
}

// onBoth does something to both hosts at the same time.
func (l *lab) onBoth(do func(*testbed.Host) error) error {
	var errs [2]error
	var wg sync.WaitGroup
	for i, h := range l.bed.Hosts() {
		wg.Go(func() { errs[i] = do(h) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// flap: the queue pairs repeat what was lost, six times with a pause of 1.07 s.
func flap(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, false)
	if err != nil {
		return err
	}
	err = d.strike(func() error {
		return l.onBoth(func(h *testbed.Host) error { // the hosts measure the time: it is short
			_, err := sh(ctx, h, fmt.Sprintf("%s %s && sleep 3 && %s %s", changeNetem, lossAll, changeNetem, nothing))
			return err
		})
	})
	if err != nil {
		return err
	}
	return o.survived(ctx, l, d, 100, 2*keepAlive)
}

// survived sees that messages go on, n each way, and that everything arrives on every connection.
func (o *outcome) survived(ctx context.Context, l *lab, d *duo, n int, bound time.Duration, checks ...func() error) error {
	from, there := d.faultA, d.faultB
	now := time.Now()
	for s, mark := range map[*side]int{d.a: from, d.b: there} {
		var first *event
		last, err := s.await(ctx, "messages go on", mark, func(e event) bool {
			if e.Ev == report.Ended {
				return true
			}
			if e.Ev != report.Progress || e.Conn != report.Traffic || e.at.Before(now) {
				return false
			}
			if first == nil {
				first = &e
			}
			return e.Acked >= first.Acked+uint64(n) && e.Received >= first.Received+uint64(n)
		})
		if err != nil {
			return err
		}
		if last.Ev == report.Ended {
			return s.fail(fmt.Errorf("%s has ended", last.Conn))
		}
	}
	acked, err := complete(ctx, d.b.node, d.a.node, connections...)
	if err != nil {
		return err
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	o.well(d.a.node, from, d.at, bound)
	o.well(d.b.node, there, d.at, bound)
	o.sayLost(acked, 0)
	if err := both(ctx, d.a, d.b); err != nil {
		return err
	}
	if err := errors.Join(d.a.released(ctx, d.warm[0]), d.b.released(ctx, d.warm[1])); err != nil {
		return err
	}
	return o.finish(ctx, l, d.start, d.a.node, d.b.node)
}

// linkDown: nobody tells anybody anything.
func linkDown(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, true)
	if err != nil {
		return err
	}
	err = d.strike(func() error {
		if err := l.cut(ctx); err != nil {
			return err
		}
		return d.into()
	})
	if err != nil {
		return err
	}
	rules := with(data(keepAlive, "ETIMEDOUT"), report.KindConnect, connectTimeout, "ETIMEDOUT", "EHOSTUNREACH")
	var acked, unacked uint64
	for s, from := range map[*side]int{d.a: d.faultA, d.b: d.faultB} {
		if err := o.judge(ctx, s, from, d.at, connections, []string{toMute, intoNothing}, rules); err != nil {
			return err
		}
		n, m := acknowledged(s, from)
		acked, unacked = acked+n, unacked+m
	}
	o.sayLost(acked, unacked)
	if err := errors.Join(d.a.released(ctx, d.warm[0]), d.b.released(ctx, d.warm[1])); err != nil {
		return err
	}
	local, err := l.start(ctx, l.bed.B())
	if err != nil {
		return err
	}
	if err := exchange(ctx, local, d.b, "local"); err != nil { // who can reach it is served
		return err
	}
	if err := l.mend(ctx); err != nil {
		return err
	}
	if err := both(ctx, d.a, d.b); err != nil { // and so are the others, once the link is there again
		return err
	}
	return o.finish(ctx, l, d.start, local, d.a.node, d.b.node)
}

// carrierLost unplugs host a's own cable for 3 s. Soft-RoCE takes a packet that it sends in the moment
// of the loss for a failure of the queue pair, so a connection may go on or end at once; and if the
// queue pair was CM's, no RDMA connection is made on that host before its RDMA device is made anew.
func carrierLost(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, false)
	if err != nil {
		return err
	}
	err = d.strike(func() error {
		if err := l.bed.A().SetLink(false); err != nil {
			return err
		}
		<-time.After(3 * time.Second) // the fault itself
		return l.bed.A().SetLink(true)
	})
	if err != nil {
		return err
	}
	for _, name := range connections {
		finish := report.Command{Do: report.Finish, Name: name}
		if err := errors.Join(d.a.tell(finish), d.b.tell(finish)); err != nil {
			return err
		}
	}
	var acked, unacked uint64
	for s, from := range map[*side]int{d.a: d.faultA, d.b: d.faultB} {
		for _, name := range connections {
			done, err := s.await(ctx, name+" goes on or ends", from, func(e event) bool {
				return e.Conn == name && (e.Ev == report.Finished || e.Ev == report.Ended)
			})
			if err != nil {
				return err
			}
			acked, unacked = acked+done.Acked, unacked+done.Sent-done.Acked
		}
		err := o.add(s.node, s.since(from), d.at, perhaps(data(keepAlive, "ECONNRESET", "ETIMEDOUT", "EIO")))
		if err != nil {
			return err
		}
	}
	o.sayLost(acked, unacked)
	if err := errors.Join(d.a.exit(ctx), d.b.exit(ctx)); err != nil {
		return err
	}
	alive, err := cmAlive(ctx, l.bed.A())
	if err != nil {
		return err
	}
	if !alive {
		o.note = "CM of a dead"
		if err := l.renew(ctx, l.bed.A()); err != nil {
			return err
		}
	}
	fresh, err := l.scene(ctx, 16, 2)
	if err != nil {
		return err
	}
	if err := both(ctx, fresh.a, fresh.b); err != nil {
		return err
	}
	return o.finish(ctx, l, d.start, fresh.a.node, fresh.b.node)
}

// cmAlive says whether the queue pair of a host's connection manager works.
func cmAlive(ctx context.Context, h *testbed.Host) (bool, error) {
	state, err := sh(ctx, h, "rdma resource show qp lqpn 1")
	return strings.Contains(state, "state RTS"), err
}

// renew makes a host's RDMA device anew.
func (l *lab) renew(ctx context.Context, h *testbed.Host) error {
	before, err := sh(ctx, h, gids)
	if err == nil {
		_, err = sh(ctx, h, "rdma link delete $SOFT_ROCE_DEVICE && "+addDevice)
	}
	if err != nil {
		return err
	}
	return becomes(ctx, h, gids, before)
}

// loss loses packets in both directions, until some messages have been acknowledged each way.
func loss(percent, messages int) func(context.Context, *lab, *outcome) error {
	return func(ctx context.Context, l *lab, o *outcome) error {
		// Silence is no death when every tenth packet is lost: the default limit. Nor shall a close
		// be cut: a FIN that is lost twice, as one in 25 is then, takes longer than the default
		// linger time, as the queue pair repeats it after a second.
		d, err := l.duo(ctx, false, "DEMI_KEEPALIVE_MS=30000", "DEMI_LINGER_MS=10000")
		if err != nil {
			return err
		}
		before, err := d.retransmitted(ctx)
		if err != nil {
			return err
		}
		err = d.strike(func() error {
			return l.onBoth(func(h *testbed.Host) error { return netem(ctx, h, fmt.Sprintf("loss %d%%", percent)) })
		})
		if err != nil {
			return err
		}
		return o.survived(ctx, l, d, messages, 0, func() error {
			after, err := d.retransmitted(ctx)
			if err == nil && after <= before {
				err = fmt.Errorf("packets were lost, and the statistics of neither side show more retransmissions than %d", before)
			}
			return err
		})
	}
}

// retransmitted is how often both devices have tried again, by libos's statistics.
func (d *duo) retransmitted(ctx context.Context) (uint64, error) {
	var sum uint64
	for _, s := range []*side{d.a, d.b} {
		from := s.mark()
		if err := s.tell(report.Command{Do: report.Count}); err != nil {
			return 0, err
		}
		ev, err := s.await(ctx, "it says what the device has counted", from, is(report.Counters))
		if err != nil {
			return 0, err
		}
		n, ok := ev.Counters["completer_retry_err"]
		if !ok {
			return 0, s.fail(fmt.Errorf("there is no count of retransmissions among %v", ev.Counters))
		}
		sum += n
	}
	return sum, nil
}

// What netem does to all that a host sends.
const (
	nothing = "delay 0ms"
	lossAll = "loss 100%"

	changeNetem = "tc qdisc change dev $SOFT_ROCE_NETDEV root netem"
)

// netem has a host treat what it sends in a certain way. The queueing discipline has been there from
// the beginning (prepare): while one is put in or taken out the network device is deactivated, and
// Soft-RoCE takes a packet that it sends then for a failure of the queue pair, CM's included.
func netem(ctx context.Context, h *testbed.Host, what string) error {
	_, err := sh(ctx, h, changeNetem+" "+what)
	return err
}

// prepare readies the hosts for netem.
func (l *lab) prepare(ctx context.Context) error {
	for _, h := range l.bed.Hosts() {
		if _, err := sh(ctx, h, "tc qdisc add dev $SOFT_ROCE_NETDEV root netem "+nothing); err != nil {
			return err
		}
	}
	return nil
}

const addDevice = "rdma link add $SOFT_ROCE_DEVICE type rxe netdev $SOFT_ROCE_NETDEV"

const gids = `cat /sys/class/infiniband/$SOFT_ROCE_DEVICE/ports/1/gids/* 2>/dev/null | sort | uniq -c`

// deviceGone: CM tells the process that has the device, and nobody tells its peer.
func deviceGone(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, true)
	if err != nil {
		return err
	}
	before, err := sh(ctx, l.bed.A(), gids)
	if err != nil {
		return err
	}
	scanner, err := l.unconfirmed(ctx, d.a, 3) // requests that a has answered
	if err != nil {
		return err
	}
	var deletion *testbed.Process
	err = d.strike(func() error {
		deletion, err = l.bed.A().Start(testbed.Command{Args: []string{"sh", "-c", "rdma link delete $SOFT_ROCE_DEVICE"}})
		return err
	})
	if err != nil {
		return err
	}
	rules := with(data(removal, "ENODEV"), report.KindConnect, removal, "ENODEV")
	if err := o.judge(ctx, d.a, d.faultA, d.at, connections, []string{toMute}, with(rules, report.KindAccept, removal, "ENODEV")); err != nil {
		return err
	}
	if err := d.a.tell(report.Command{Do: report.Forget}); err != nil { // requests that no libOS would keep
		return err
	}
	if err := d.a.empty(ctx, d.at.Add(removal+slack)); err != nil {
		return err
	}
	select {
	case <-deletion.Done():
		return d.a.fail(errors.New("rdma link delete has returned while the process lives: say so in docs/faults.md"))
	default:
	}
	err = o.judge(ctx, d.b, d.faultB, d.at, connections, []string{toMute},
		with(data(keepAlive, "ECONNRESET", "ETIMEDOUT"), report.KindConnect, connectTimeout, "ECONNREFUSED", "ETIMEDOUT"))
	if err != nil {
		return err
	}
	acked, unacked := acknowledged(d.a, d.faultA)
	n, m := acknowledged(d.b, d.faultB)
	o.sayLost(acked+n, unacked+m)
	if err := scanner.kill(); err != nil {
		return err
	}
	if err := d.a.exit(ctx); err != nil {
		return err
	}
	if status, err := deletion.Wait(); err != nil || status != 0 {
		return fmt.Errorf("rdma link delete: exit status %d, %w", status, err)
	}
	if _, err := sh(ctx, l.bed.A(), addDevice); err != nil {
		return err
	}
	if err := becomes(ctx, l.bed.A(), gids, before); err != nil {
		return err
	}
	if err := d.b.released(ctx, d.warm[1]); err != nil {
		return err
	}
	fresh, err := l.side(ctx, l.bed.A(), 16, 2)
	if err != nil {
		return err
	}
	if err := both(ctx, fresh, d.b); err != nil {
		return err
	}
	return o.finish(ctx, l, d.start, fresh.node, d.b.node)
}

// empty waits until a process has no RDMA object open but its event channels.
func (n *node) empty(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, errors.New("objects of a device that has gone are open"))
	defer cancel()
	for {
		from := n.mark()
		if err := n.tell(report.Command{Do: report.Stock}); err != nil {
			return err
		}
		ev, err := n.await(ctx, "it has released everything", from, is(report.Objects))
		if err != nil {
			return err
		}
		delete(ev.Objects, "event channel")
		if len(ev.Objects) == 0 {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return n.fail(fmt.Errorf("%w: %v", context.Cause(ctx), ev.Objects))
		}
	}
}

// becomes waits until a command on a host prints something.
func becomes(ctx context.Context, h *testbed.Host, script, want string) error {
	for {
		got, err := sh(ctx, h, script)
		if err != nil || got == want {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s on %s prints %q, not %q", strings.Fields(script)[0], h.Name, got, want)
		}
	}
}

// poweredOff: nobody tells anybody anything, and address resolution fails as well after some time.
func poweredOff(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, true)
	if err != nil {
		return err
	}
	err = d.strike(func() error {
		l.bed.A().PowerOff()
		return d.b.tell(report.Command{Do: report.Connect, Name: intoNothing, Addr: d.a.listens})
	})
	if err != nil {
		return err
	}
	err = o.judge(ctx, d.b, d.faultB, d.at, connections, []string{toMute, intoNothing},
		with(data(keepAlive, "ETIMEDOUT"), report.KindConnect, connectTimeout, "ETIMEDOUT", "EHOSTUNREACH"))
	if err != nil {
		return err
	}
	o.sayLost(acknowledged(d.b, d.faultB))
	if err := d.b.released(ctx, d.warm[1]); err != nil {
		return err
	}
	local, err := l.start(ctx, l.bed.B())
	if err != nil {
		return err
	}
	if err := exchange(ctx, local, d.b, "local"); err != nil {
		return err
	}
	return o.finish(ctx, l, d.start, local, d.b.node)
}

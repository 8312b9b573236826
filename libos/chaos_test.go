package libos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/libos/connfsm"
	"catmint/rdma"
	"catmint/rdma/sim"
)

// TestUnderFaultsEveryTokenEndsAndNothingIsLeftBehind lets the connection manager lose,
// delay, swap and forge events and messages, calls fail, queue pairs break and, with some seeds,
// a device go away, at random on a seed, while clients connect, talk and close. Whatever happens,
// each token ends, once, in time, in success or with a stated errno, and shutting down (newPair)
// finds nothing left.
func TestUnderFaultsEveryTokenEndsAndNothingIsLeftBehind(t *testing.T) {
	first, seeds := 0, 60
	if testing.Short() {
		seeds = 12
	}
	// More of them, or those that have failed: CATMINT_CHAOS=FIRST,NUMBER.
	if s := os.Getenv("CATMINT_CHAOS"); s != "" {
		_, err := fmt.Sscanf(s, "%d,%d", &first, &seeds)
		require.NoError(t, err, "CATMINT_CHAOS=%q", s)
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { chaos(t, uint64(seed)) })
	}
}

func chaos(t *testing.T, seed uint64) {
	t.Helper()
	cfg := testConfig()
	cfg.ConnectTimeout, cfg.ResolveTimeout, cfg.RetryDelay = 200*time.Millisecond, 50*time.Millisecond, time.Millisecond
	cfg.KeepAlive = time.Second // a queue pair that is cut off hears of nothing else
	cfg.Linger, cfg.FlushTimeout = 50*time.Millisecond, 50*time.Millisecond
	p := newPair(t, cfg, sim.Config{Seed: seed, SeededDelivery: seed%2 == 1, RetryPolls: 1000, NoLateRecvFlush: seed%3 == 0})
	l, at := p.b.listen(t, p.b.addr, 8)
	rng := rand.New(rand.NewPCG(seed, 3))
	// Some of all that can go wrong, each seldom.
	for ev := rdma.AddrResolved; ev <= rdma.TimewaitExit; ev++ {
		f := p.net.When(sim.Event(ev)).Always().Chance(0.04)
		switch rng.IntN(5) {
		case 0:
			if ev != rdma.ConnectRequest {
				f.Drop()
			}
		case 1:
			f.Delay(time.Duration(rng.IntN(20)) * time.Millisecond)
		case 2:
			f.Swap()
		case 3:
			if ev != rdma.ConnectRequest {
				f.Become(rdma.CMEvent(rng.IntN(int(rdma.TimewaitExit)+1)), -int(syscall.ETIMEDOUT))
			}
		}
	}
	for m := sim.REQ; m <= sim.DREP; m++ {
		f := p.net.When(sim.Message(m)).Always().Chance(0.04)
		switch rng.IntN(3) {
		case 0:
			f.Drop()
		case 1:
			f.Delay(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
	}
	for call := sim.CallResolveAddr; call <= sim.CallCreateCQ; call++ {
		if call != sim.CallListen && call != sim.CallDisconnect {
			p.net.When(sim.Call(call)).Always().Chance(0.02).Fail([]syscall.Errno{syscall.ENOMEM, syscall.EINVAL, syscall.EAGAIN}[rng.IntN(3)])
		}
	}

	p.keepPolling(t)
	p.keepBreaking(t, seed)
	var serving, wg sync.WaitGroup
	hung := make(chan string, 1000)
	wait := func(n *node, what string, qt datapath.Token) (datapath.Result, error) {
		begin := time.Now()
		r, err := n.e.Wait(within(t), qt)
		switch took := time.Since(begin); {
		case err != nil && r.Opcode != datapath.OpFailed:
			hung <- fmt.Sprint(what, ": ", err)
		case err != nil && !slices.Contains(stated[strings.TrimPrefix(what, "cancelled ")], errno(err)):
			hung <- fmt.Sprint(what, " ends with ", connfsm.ErrnoName(errno(err)), ": ", err)
		case took > limits[what]:
			hung <- fmt.Sprint(what, " took ", took)
		}
		return r, err
	}
	for range 4 {
		serving.Go(func() {
			for {
				qt, err := l.Accept()
				if err != nil {
					return
				}
				r, err := wait(p.b, "accept", qt)
				if err != nil {
					return
				}
				s, err := p.b.p.Socket(r.Accept().QD)
				if err != nil {
					hung <- "accepted socket is unknown"
					return
				}
				for {
					if qt, err = s.Pop(); err != nil {
						break
					}
					if r, err = wait(p.b, "pop", qt); err != nil || len(TakeBytes(&r)) == 0 {
						break
					}
				}
				if err := s.Close(); err != nil {
					hung <- fmt.Sprint("server's close: ", err)
				}
			}
		})
	}
	for w := range 6 {
		mine := rand.New(rand.NewPCG(seed, uint64(w)+100))
		wg.Go(func() {
			for range 8 {
				s, err := p.a.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if err != nil {
					hung <- fmt.Sprint("socket: ", err)
					return
				}
				qt, err := s.Connect(at)
				if err != nil {
					hung <- fmt.Sprint("connect: ", err)
					return
				}
				if mine.IntN(5) == 0 { // closed while it connects
					if err := s.Close(); err != nil {
						hung <- fmt.Sprint("close: ", err)
					}
					_, _ = wait(p.a, "cancelled connect", qt)
					continue
				}
				if _, err := wait(p.a, "connect", qt); err == nil {
					for range mine.IntN(4) {
						if qt, err = s.Push(make([]byte, 1+mine.IntN(2000)<<(6*(mine.IntN(8)/7)))); err != nil {
							break
						}
						if _, err = wait(p.a, "push", qt); err != nil {
							break
						}
					}
				}
				if err := s.Close(); err != nil {
					hung <- fmt.Sprint("close: ", err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Close())
	serving.Wait()
	p.a.quiesce(t)
	p.b.quiesce(t)
	t.Logf("clients %+v; server %+v", p.a.p.Stats(), p.b.p.Stats())
	close(hung)
	for h := range hung {
		t.Error(h)
	}
}

// stated are the errnos with which operations may end; those of connect that libos.h names, and
// EINVAL, with which this test lets calls fail.
var stated = map[string][]syscall.Errno{
	"accept": {syscall.ECANCELED, syscall.ENODEV},
	"connect": {
		syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EADDRNOTAVAIL, syscall.ETIMEDOUT,
		syscall.EPROTO, syscall.ENODEV, syscall.EAGAIN, syscall.ENOMEM, syscall.ECANCELED, syscall.ECONNRESET,
		syscall.ECONNABORTED, syscall.EINVAL,
	},
	"push": {syscall.EPIPE, syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.ENODEV, syscall.EIO, syscall.ECANCELED},
	// EPROTO: a completion made to fail may say that the peer does not let its message be read.
	"pop": {syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.EPROTO, syscall.ENODEV, syscall.EIO, syscall.ECANCELED},
}

// limits are generous: a connect has 200 ms here, and a message as long as its connection, which
// ends when the client closes. An accept waits for a client.
var limits = map[string]time.Duration{
	"accept": patience, "connect": 10 * time.Second, "cancelled connect": 10 * time.Second,
	"push": 10 * time.Second, "pop": patience,
}

// keepBreaking breaks queue pairs now and then until the test ends, and with every tenth seed the
// clients' device goes away.
func (p *pair) keepBreaking(t *testing.T, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 5))
	stop, done := make(chan struct{}), make(chan struct{})
	removal := -1
	if seed%10 == 9 {
		removal = rng.IntN(20)
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if n == removal {
				p.hosts[0].RemoveDevice("sima")
			}
			qps := p.hosts[rng.IntN(2)].QPs()
			if len(qps) == 0 {
				continue
			}
			qp := qps[rng.IntN(len(qps))]
			switch rng.IntN(12) {
			case 0:
				qp.ErrorAfter(rng.IntN(4))
			case 1:
				qp.FailCompletion(1+rng.IntN(4), rdma.WCStatus(1+rng.IntN(12)))
			case 2:
				qp.Cut(true)
			case 3:
				qp.ForceRNR(1 + rng.IntN(3))
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// keepPolling polls both sides until the test ends: seeded delivery happens in polls.
func (p *pair) keepPolling(t *testing.T) {
	t.Helper()
	stop := make(chan struct{})
	var polling sync.WaitGroup
	for _, n := range []*node{p.a, p.b} {
		polling.Go(func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					for range 50 {
						n.e.Datapath().Poll()
					}
				}
			}
		})
	}
	t.Cleanup(func() {
		close(stop)
		polling.Wait()
	})
}

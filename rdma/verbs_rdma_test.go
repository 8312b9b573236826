//go:build rdma

package rdma_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/verbstest"
)

func TestMessagesArriveIntactBothWays(t *testing.T) {
	c := established(t)
	for from, to := range map[*end]*end{c.client: c.server, c.server: c.client} {
		src := from.buffer(recvSize)
		for i := range src.Bytes {
			src.Bytes[i] = byte(i * 7)
		}
		require.NoError(t, src.PostSend(from.qp, 2, recvSize))
		sent := from.completion()
		assert.Equal(t, rdma.WCSuccess, sent.Status)
		assert.EqualValues(t, 2, sent.ID)
		got := to.completion()
		assert.Equal(t, rdma.WCSuccess, got.Status)
		assert.Equal(t, rdma.WCRecv, got.Opcode)
		assert.Equal(t, recvSize, got.Len)
		assert.Equal(t, to.qp.Num(), got.QPNum)
		assert.Equal(t, src.Bytes, to.buf.Bytes)
	}
	c.disconnect()
}

func TestArmedCompletionQueueReportsToItsChannel(t *testing.T) {
	c := established(t)
	_, err := verbstest.TakeEvent(c.server.f, c.server.channel)
	require.ErrorIs(t, err, syscall.EAGAIN, "the channel is non-blocking")
	require.NoError(t, verbstest.Arm(c.server.cq))
	src := c.client.buffer(64)
	require.NoError(t, src.PostSend(c.client.qp, 2, 64))

	// The channel's descriptor can be waited for in the netpoller, as a dup.
	fd, err := syscall.Dup(c.server.channel.Fd())
	require.NoError(t, err)
	file := os.NewFile(uintptr(fd), "completion channel")
	defer file.Close()
	require.NoError(t, file.SetReadDeadline(time.Now().Add(limit)))
	conn, err := file.SyscallConn()
	require.NoError(t, err)
	var cq unsafe.Pointer
	err = conn.Read(func(uintptr) bool {
		cq, err = verbstest.TakeEvent(c.server.f, c.server.channel)
		return err == nil
	})
	require.NoError(t, err)
	assert.Equal(t, c.server.cq.Handle(), cq)
	assert.Equal(t, rdma.WCSuccess, c.server.completion().Status)
	assert.Equal(t, rdma.WCSuccess, c.client.completion().Status)
	c.disconnect()
}

func TestErrorStateFlushesPostedReceives(t *testing.T) {
	for name, setError := range map[string]func(rdma.Fabric, rdma.QP) error{
		"by the queue pair's method": func(_ rdma.Fabric, qp rdma.QP) error { return qp.SetError() },
		"by the slow operations":     verbstest.SetError,
	} {
		t.Run(name, func(t *testing.T) {
			c := established(t)
			require.NoError(t, setError(c.server.f, c.server.qp))
			assert.Equal(t, rdma.QPErr, c.server.state())
			wc := c.server.completion()
			assert.Equal(t, rdma.WCWRFlushErr, wc.Status)
			assert.EqualValues(t, 1, wc.ID)
			c.close()
		})
	}
}

func TestMinRNRTimerCanBeSetOnceEstablished(t *testing.T) {
	c := established(t)
	require.NoError(t, c.client.qp.SetMinRNRTimer(12))
	require.NoError(t, c.server.qp.SetMinRNRTimer(12))
	c.disconnect()
}

func TestCapsAndDepthAreAtLeastWhatWasAskedFor(t *testing.T) {
	l := newBed(t)
	id := l.resolveOwn()
	e := l.newEnd(id)
	assert.GreaterOrEqual(t, e.cq.Depth(), 16)
	caps := e.qp.Caps()
	assert.GreaterOrEqual(t, caps.MaxSendWR, uint32(4))
	assert.GreaterOrEqual(t, caps.MaxRecvWR, uint32(4))
	assert.GreaterOrEqual(t, caps.MaxSendSGE, uint32(1))
	assert.GreaterOrEqual(t, caps.MaxRecvSGE, uint32(1))
	assert.Equal(t, rdma.QPInit, e.state(), "receives can be posted before connecting")
	e.close()
}

func TestClosingInTheWrongOrderIsBusyAndChangesNothing(t *testing.T) {
	c := established(t)
	e := c.client
	require.ErrorIs(t, e.f.Close(), syscall.EBUSY)
	require.ErrorIs(t, e.ch.Close(), syscall.EBUSY)
	require.ErrorIs(t, e.id.Close(), syscall.EBUSY)
	require.ErrorIs(t, e.pd.Close(), syscall.EBUSY)
	require.ErrorIs(t, e.cq.Close(), syscall.EBUSY)
	require.ErrorIs(t, e.channel.Close(), syscall.EBUSY)
	c.disconnect()
}

func TestProtectionDomainWithMemoryRegionIsBusy(t *testing.T) {
	l := newBed(t)
	id := l.listen(bedAddr(t))
	pd, err := id.Device().AllocPD()
	require.NoError(t, err)
	assert.Equal(t, id.Device(), pd.Device())
	buf, err := verbstest.NewBuffer(l.f, pd, 4096) // as the data plane does
	require.NoError(t, err)
	require.ErrorIs(t, pd.Close(), syscall.EBUSY)

	page := unsafe.Pointer(unsafe.SliceData(buf.Bytes))
	mr, err := rdma.RegMR(pd, page, 4096, rdma.AccessLocalWrite|rdma.AccessRemoteRead)
	require.NoError(t, err)
	assert.NotZero(t, mr.RKey())
	require.NoError(t, buf.Free())
	require.ErrorIs(t, pd.Close(), syscall.EBUSY)
	require.NoError(t, mr.Close())
	require.NoError(t, mr.Close())
	require.NoError(t, pd.Close())

	_, err = rdma.RegMR(pd, page, 4096, 0)
	require.ErrorIs(t, err, syscall.EBADF)
}

func TestASecondCloseDoesNothing(t *testing.T) {
	l := newBed(t)
	e := l.newEnd(l.resolveOwn())
	e.close()
	require.NoError(t, e.qp.Close())
	require.NoError(t, e.cq.Close())
	require.NoError(t, e.channel.Close())
	require.NoError(t, e.pd.Close())
	require.NoError(t, e.id.Close())

	_, err := e.qp.State()
	require.ErrorIs(t, err, syscall.EBADF)
	require.ErrorIs(t, e.qp.SetError(), syscall.EBADF)
	_, err = l.listen(bedAddr(t)).Device().CreateCQ(1, e.channel)
	require.ErrorIs(t, err, syscall.EBADF)
}

func TestImpossibleRequestsAreInvalid(t *testing.T) {
	l := newBed(t)
	id := l.resolveOwn()
	dev := id.Device()
	for _, depth := range []int{0, -1, dev.Attr().MaxCQE + 1} {
		_, err := dev.CreateCQ(depth, nil)
		require.ErrorIs(t, err, syscall.EINVAL, "depth %d", depth)
	}
	for _, port := range []int{0, -1, dev.Attr().NumPorts + 1} {
		_, err := dev.Port(port)
		require.ErrorIs(t, err, syscall.EINVAL)
		_, err = dev.GIDs(port)
		require.ErrorIs(t, err, syscall.EINVAL)
	}
	e := l.newEnd(id)
	_, err := id.CreateQP(e.pd, rdma.QPInitAttr{SendCQ: e.cq, RecvCQ: e.cq})
	require.ErrorIs(t, err, syscall.EINVAL, "an id has one queue pair")
	_, err = rdma.RegMR(e.pd, nil, 0, 0)
	require.ErrorIs(t, err, syscall.EINVAL)
	e.close()

	id = l.resolveOwn()
	pd, err := dev.AllocPD()
	require.NoError(t, err)
	cq, err := dev.CreateCQ(1, nil)
	require.NoError(t, err)
	_, err = id.CreateQP(pd, rdma.QPInitAttr{
		SendCQ: cq, RecvCQ: cq,
		Caps: rdma.QPCaps{MaxSendWR: uint32(dev.Attr().MaxQPWR) + 1, MaxRecvWR: 1},
	})
	require.Error(t, err)
	var opErr *rdma.OpError
	require.ErrorAs(t, err, &opErr)
	assert.Equal(t, dev.Name(), opErr.Device)
	require.NoError(t, cq.Close(), "a failed queue pair holds nothing")
	require.NoError(t, pd.Close())
	require.NoError(t, id.Close())
}

func TestCyclesLeaveNothingBehind(t *testing.T) {
	l := newBed(t)
	cycle := func() {
		c := l.establish(bedAddr(t))
		c.disconnect()
		require.NoError(t, c.listener.Close())
	}
	cycle() // opens what librdmacm keeps for ever
	counts, fds, kernel := rdmatest.Counts(), rdmatest.FDs(t), kernelCounts(t)
	for range 50 {
		cycle()
	}
	assert.Equal(t, counts, rdmatest.Counts())
	assert.Equal(t, fds, rdmatest.FDs(t))
	assert.Equal(t, kernel, kernelCounts(t), "as the rdma tool counts")
}

// kernelCounts is how many objects of each kind the bed's device has, of any process.
func kernelCounts(t *testing.T) map[string]uint64 {
	t.Helper()
	all, err := netlink.RdmaResourceList()
	require.NoError(t, err)
	for _, r := range all {
		if r.Name == env(t, "SOFT_ROCE_DEVICE") {
			return r.RdmaResourceSummaryEntries
		}
	}
	require.FailNow(t, "the device has no resources")
	return nil
}

// asyncEvents collects the asynchronous events of dev until the test ends.
func asyncEvents(t *testing.T, dev rdma.Device) <-chan rdma.AsyncEvent {
	t.Helper()
	events := make(chan rdma.AsyncEvent, 64)
	t.Cleanup(dev.OnAsyncEvent(func(ev rdma.AsyncEvent) {
		select {
		case events <- ev:
		default:
		}
	}))
	return events
}

// nextAsync waits for the next event of a type.
func nextAsync(t *testing.T, events <-chan rdma.AsyncEvent, want rdma.AsyncEventType) rdma.AsyncEvent {
	t.Helper()
	for {
		ev := receive(t, events)
		if ev.Type == want {
			return ev
		}
		t.Logf("event %v before it", ev.Type)
	}
}

func TestOverrunOfACompletionQueueIsAnAsynchronousEvent(t *testing.T) {
	c := established(t)
	events := asyncEvents(t, c.client.id.Device())
	src := c.client.buffer(64)
	// The client never polls.
	for range c.client.cq.Depth() + 2 {
		require.NoError(t, src.PostSend(c.client.qp, 2, 64))
		require.Equal(t, rdma.WCSuccess, c.server.completion().Status)
		require.NoError(t, c.server.buf.PostRecv(c.server.qp, 1))
	}
	ev := nextAsync(t, events, rdma.EventCQErr)
	assert.Equal(t, c.client.cq.Handle(), ev.CQ)
	assert.Nil(t, ev.QP)
	c.close()
}

func TestDrainedSendQueueIsAnAsynchronousEventOfItsQueuePair(t *testing.T) {
	c := established(t)
	events := asyncEvents(t, c.client.id.Device())
	src := c.client.buffer(64)
	require.NoError(t, src.PostSend(c.client.qp, 2, 64))
	require.NoError(t, verbstest.DrainSendQueue(c.client.f, c.client.qp))
	ev := nextAsync(t, events, rdma.EventSQDrained)
	assert.Equal(t, c.client.qp.Handle(), ev.QP)
	assert.Equal(t, c.client.qp.Num(), ev.QPNum)
	assert.Nil(t, ev.CQ)
	c.close()
}

func TestLackOfLockedMemorySaysWhichLimitToRaise(t *testing.T) {
	const size = 1 << 20
	pd, err := bedDevice(t).AllocPD()
	require.NoError(t, err)
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	register := func() error {
		mr, err := rdma.RegMR(pd, unsafe.Pointer(unsafe.SliceData(mem)), size, rdma.AccessLocalWrite)
		if err == nil {
			err = mr.Close()
		}
		return err
	}
	require.NoError(t, register())

	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit))
	low := unix.Rlimit{Cur: size / 2, Max: limit.Max}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &low))
	failed := make(chan error)
	go func() {
		// The privilege that overrides the limit is the thread's; the thread ends with
		// this goroutine.
		runtime.LockOSThread()
		if err := dropCapIPCLock(); err != nil {
			failed <- err
			return
		}
		failed <- register()
	}()
	err = receive(t, failed)
	hint := rdma.Hint(err)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit))
	require.ErrorIs(t, err, syscall.ENOMEM)
	assert.Contains(t, hint, "512 KiB (RLIMIT_MEMLOCK)")
	require.NoError(t, unix.Munmap(mem))
	require.NoError(t, pd.Close())
}

// dropCapIPCLock takes CAP_IPC_LOCK from the calling thread.
func dropCapIPCLock() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_IPC_LOCK
	return unix.Capset(&header, &data[0])
}

func TestTwoFabricsShareTheirDevices(t *testing.T) {
	f, g := newFabric(t), newFabric(t)
	a, b := newLoop(t, f).listen(bedAddr(t)), newLoop(t, g).listen(bedAddr6(t))
	assert.Same(t, a.Device(), b.Device())
	assert.Equal(t, f.SlowOps(), g.SlowOps())
}

func TestChannelsWorkAtTheSameTimeOnOneDevice(t *testing.T) {
	const channels, each = 4, 10
	f := newFabric(t)
	results := make(chan error, channels)
	for range channels {
		l := newLoop(t, f)
		dst := l.listen(bedAddr(t)).LocalAddr()
		go func() {
			var err error
			for range each {
				if err = resolveOnce(l.ch, dst); err != nil {
					break
				}
			}
			results <- err
		}()
	}
	for range channels {
		require.NoError(t, receive(t, results))
	}
}

// resolveOnce makes an id, resolves dst, uses its device, and closes everything.
func resolveOnce(ch rdma.EventChannel, dst netip.AddrPort) (err error) {
	id, err := ch.CreateID()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, id.Close()) }()
	if err := id.ResolveAddr(netip.AddrPort{}, dst, resolveTimeout); err != nil {
		return err
	}
	for {
		<-ch.Readable()
		ev, ok, err := ch.GetEvent()
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if ev.Type != rdma.AddrResolved || ev.ID != id {
			return fmt.Errorf("event %v, status %d", ev.Type, ev.Status)
		}
		if _, ok, err := ch.GetEvent(); ok || err != nil {
			return fmt.Errorf("another event, error %w", err)
		}
		pd, err := id.Device().AllocPD()
		if err != nil {
			return err
		}
		return pd.Close()
	}
}

func TestWithoutPermissionTheErrorSaysWhatToDo(t *testing.T) {
	f := newFabric(t)
	for _, c := range []struct {
		nodes string
		call  func() error
	}{
		{"rdma_cm", func() error { _, err := f.NewEventChannel(); return err }},
		{"uverbs*", func() error { _, err := f.Devices(); return err }},
	} {
		nodes, err := filepath.Glob("/dev/infiniband/" + c.nodes)
		require.NoError(t, err)
		require.NotEmpty(t, nodes)
		for _, node := range nodes {
			info, err := os.Stat(node)
			require.NoError(t, err)
			require.NoError(t, os.Chmod(node, 0o600))
			defer func() { require.NoError(t, os.Chmod(node, info.Mode().Perm())) }()
		}
		failed := make(chan error)
		go func() {
			const nobody = 65534
			// Whose rights count for files is the thread's; it ends with this goroutine.
			runtime.LockOSThread()
			_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, nobody, 0, 0)
			failed <- c.call()
		}()
		err = receive(t, failed)
		require.ErrorIs(t, err, syscall.EACCES)
		assert.Contains(t, rdma.Hint(err), "no permission")
	}
}

// As the engine posts on hardware, which Soft-RoCE's provider is not.
func TestSendsByTheExtendedInterfaceTakeTurnsWithOthers(t *testing.T) {
	for name, establish := range map[string]func(*loop) connection{
		"queue pair of an id":    func(l *loop) connection { return l.establish(bedAddr(t)) },
		"queue pair of a device": (*loop).establishAhead,
	} {
		t.Run(name, func(t *testing.T) {
			l := newBed(t)
			l.sendOps, l.inline = true, 128
			c := establish(l)
			client, server := c.client, c.server
			require.NotNil(t, client.qp.Extended())
			src := client.buffer(recvSize)
			for i := range 40 { // the send queue goes round several times
				n := 1 + i*3
				for j := range n {
					src.Bytes[j] = byte(i + j)
				}
				post := src.PostInline
				if i%3 == 2 {
					post = src.PostSend
				}
				require.NoError(t, post(client.qp, uint64(i), n))
				sent := client.completion()
				require.Equal(t, rdma.WCSuccess, sent.Status)
				require.EqualValues(t, i, sent.ID)
				got := server.completion()
				require.Equal(t, rdma.WCSuccess, got.Status)
				require.Equal(t, n, got.Len)
				require.Equal(t, src.Bytes[:n], server.buf.Bytes[:n])
				require.NoError(t, server.buf.PostRecv(server.qp, 1))
			}
			require.Error(t, src.PostInline(client.qp, 98, recvSize), "more than goes inline")
			require.NoError(t, src.PostInline(client.qp, 99, 1))
			sent := client.completion()
			require.Equal(t, rdma.WCSuccess, sent.Status)
			require.EqualValues(t, 99, sent.ID, "the one that was refused has left nothing behind")
			require.Equal(t, 1, server.completion().Len)
			c.disconnect()
		})
	}
}

func TestAQueuePairHasNoExtendedInterfaceUnlessAskedFor(t *testing.T) {
	c := established(t)
	assert.Nil(t, c.client.qp.Extended())
	c.disconnect()
}

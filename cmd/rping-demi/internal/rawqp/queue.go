package rawqp

// #include "verbs.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"catmint/rdma"
)

var _ = rdma.SlowOpsHeader // an edit of slowops.h rebuilds this package

// Config says how large a Queue is and how it waits.
type Config struct {
	SendDepth, RecvDepth int
	// Spin is how long Next polls before it sleeps; Forever never sleeps.
	Spin time.Duration
}

// Forever is a Spin that never ends.
const Forever = time.Duration(math.MaxInt64)

// minRNRTimer is the code for 0.64 ms, after which a peer tries again that found no receive.
const minRNRTimer = 12

// Queue is a queue pair with what it needs. One goroutine waits on it at a time;
// everything else may be called from any goroutine.
type Queue struct {
	cfg Config
	ops *C.struct_rdma_slow_ops

	mu      sync.Mutex
	pd      rdma.PD
	channel rdma.CompletionChannel
	cq      rdma.CQ
	qp      rdma.QP // nil before Create and after Destroy
	events  *os.File
	conn    syscall.RawConn
	wc      *C.struct_ibv_wc
	buffers map[*Buffer]struct{}
	kept    []Completion // taken from the completion queue when the connection ended
	over    bool         // the connection has ended
	err     error        // why; nil if it was we who closed it
}

// New makes an empty queue for objects of fabric.
func New(fabric rdma.Fabric, cfg Config) *Queue {
	return &Queue{
		cfg: cfg, ops: (*C.struct_rdma_slow_ops)(fabric.SlowOps()), wc: new(C.struct_ibv_wc),
		buffers: map[*Buffer]struct{}{},
	}
}

// Create makes everything on the device of id. On an error nothing is left. It may be
// called again after Destroy, when a connect begins anew; buffers do not survive that.
func (q *Queue) Create(id rdma.ID) (err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.qp != nil {
		return syscall.EBUSY
	}
	if err := q.free(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.free())
		}
	}()
	dev := id.Device()
	if dev == nil {
		return syscall.ENODEV
	}
	if q.pd, err = dev.AllocPD(); err != nil {
		return err
	}
	if q.channel, err = dev.NewCompletionChannel(); err != nil {
		return err
	}
	if q.cq, err = dev.CreateCQ(q.cfg.SendDepth+q.cfg.RecvDepth, q.channel); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(uintptr(q.channel.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	q.events = os.NewFile(uintptr(fd), "completion channel") // non-blocking, so the netpoller's
	if q.conn, err = q.events.SyscallConn(); err != nil {
		return err
	}
	q.qp, err = id.CreateQP(q.pd, rdma.QPInitAttr{SendCQ: q.cq, RecvCQ: q.cq, Caps: rdma.QPCaps{
		MaxSendWR: uint32(q.cfg.SendDepth), MaxRecvWR: uint32(q.cfg.RecvDepth), MaxSendSGE: 1, MaxRecvSGE: 1,
	}})
	q.over, q.err, q.kept = false, nil, nil
	return err
}

// Established tells the queue pair how soon a peer may try again. A connection that has
// ended already is no error here: Next says so.
func (q *Queue) Established() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.qp == nil || q.over {
		return nil
	}
	err := q.qp.SetMinRNRTimer(minRNRTimer)
	if err == nil {
		return nil
	}
	if state, serr := q.qp.State(); serr == nil && state != rdma.QPRTS {
		return nil
	}
	return err
}

// End says that the connection is over, err being nil if it was closed on this side. What
// has completed can still be taken.
func (q *Queue) End(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return
	}
	for q.cq != nil {
		c, perr := q.poll(0)
		if perr != nil {
			break
		}
		q.kept = append(q.kept, c)
	}
	q.over, q.err = true, err
	q.wake()
}

// Destroy destroys the queue pair; completions and buffers stay.
func (q *Queue) Destroy() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.qp == nil {
		return nil
	}
	err := q.qp.Close()
	q.qp = nil
	return err
}

// Close frees everything else, once the queue pair is gone (EBUSY otherwise) and nobody
// waits. A second Close does nothing.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.qp != nil {
		return syscall.EBUSY
	}
	return q.free()
}

func (q *Queue) free() error {
	var errs []error
	for b := range q.buffers {
		errs = append(errs, q.freeBuffer(b))
	}
	if q.events != nil {
		errs = append(errs, q.events.Close())
		q.events = nil
	}
	if q.cq != nil {
		errs = append(errs, q.cq.Close())
		q.cq = nil
	}
	if q.channel != nil {
		errs = append(errs, q.channel.Close())
		q.channel = nil
	}
	if q.pd != nil {
		errs = append(errs, q.pd.Close())
		q.pd = nil
	}
	return errors.Join(errs...)
}

// Remote is memory of the peer.
type Remote struct {
	Addr uint64
	RKey uint32
}

// Recv posts the first n bytes of b as a receive.
func (q *Queue) Recv(wr uint64, b *Buffer, n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	s, err := q.span(b, n, Remote{})
	if err != nil {
		return err
	}
	return posted("receive", C.rawqp_post_recv((*C.struct_ibv_qp)(q.qp.Handle()), C.uint64_t(wr), &s))
}

// Send posts a SEND of the first n bytes of b. Each of Send, Read and Write completes.
func (q *Queue) Send(wr uint64, b *Buffer, n int) error {
	return q.post("send", C.IBV_WR_SEND, wr, b, n, Remote{})
}

// Read posts an RDMA READ of n bytes at r into b.
func (q *Queue) Read(wr uint64, b *Buffer, n int, r Remote) error {
	return q.post("read", C.IBV_WR_RDMA_READ, wr, b, n, r)
}

// Write posts an RDMA WRITE of the first n bytes of b to r.
func (q *Queue) Write(wr uint64, b *Buffer, n int, r Remote) error {
	return q.post("write", C.IBV_WR_RDMA_WRITE, wr, b, n, r)
}

func (q *Queue) post(name string, opcode C.int, wr uint64, b *Buffer, n int, r Remote) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	s, err := q.span(b, n, r)
	if err != nil {
		return err
	}
	return posted(name, C.rawqp_post((*C.struct_ibv_qp)(q.qp.Handle()), C.uint64_t(wr), opcode, &s))
}

func (q *Queue) span(b *Buffer, n int, r Remote) (C.struct_rawqp_span, error) {
	switch {
	case q.over || q.qp == nil:
		return C.struct_rawqp_span{}, q.ended()
	case b.mr == nil || n < 0 || n > len(b.Bytes):
		return C.struct_rawqp_span{}, syscall.EINVAL
	}
	return C.struct_rawqp_span{
		addr: unsafe.Pointer(unsafe.SliceData(b.Bytes)), length: C.uint32_t(n), lkey: b.mr.lkey,
		remote_addr: C.uint64_t(r.Addr), rkey: C.uint32_t(r.RKey),
	}, nil
}

func posted(name string, errno C.int) error {
	if errno != 0 {
		return fmt.Errorf("post %s: %w", name, syscall.Errno(errno))
	}
	return nil
}

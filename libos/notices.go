package libos

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/internal/background"
	"catmint/libos/connfsm"
)

// noticeReader takes the data plane's notices. Its goroutine is parked on a dup of the
// engine's eventfd; the housekeeper takes them too, right after it has made progress.
type noticeReader struct {
	e    *Engine
	file *os.File
	done <-chan struct{}

	mu  sync.Mutex // one taker at a time, so that the order stays
	buf [64]datapath.Notice
}

func newNoticeReader(e *Engine) (*noticeReader, error) {
	// A dup, because os.File closes what it is given.
	fd, err := unix.FcntlInt(uintptr(e.dp.NoticeFD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &noticeReader{e: e, file: os.NewFile(uintptr(fd), "notices")}, nil
}

func (r *noticeReader) start() error {
	conn, err := r.file.SyscallConn()
	if err != nil {
		return err
	}
	r.done = background.Go("notices", func() {
		// The function runs when the eventfd may be readable, and never says that it
		// has had enough: only Close ends Read.
		_ = conn.Read(func(uintptr) bool {
			background.Checkpoint("notices")
			r.take()
			return false
		})
	})
	return nil
}

// take takes all notices there are.
func (r *noticeReader) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		n := r.e.dp.Notices(r.buf[:])
		for _, nt := range r.buf[:n] {
			r.e.notice(nt)
		}
		if n < len(r.buf) {
			return
		}
	}
}

func (r *noticeReader) stop() error {
	err := r.file.Close()
	<-r.done
	return err
}

// notice handles one notice of the data plane.
func (e *Engine) notice(n datapath.Notice) {
	var ev connfsm.Event
	switch n.Kind {
	case datapath.NoticeToken:
		e.wake(datapath.Token(n.Cookie))
		return
	case datapath.NoticeHousekeeper:
		e.house.kick()
		return
	case datapath.NoticeBroken:
		ev = connfsm.Event{Kind: connfsm.Broken, Err: syscall.Errno(n.Arg)}
		if ev.Err == syscall.ECONNRESET { // flushed: CM says next why, as a rule
			background.After(min(causeDelay, e.p.cfg.FlushTimeout), "end of a wait for CM", func() { e.postNotice(n.Cookie, ev) })
			return
		}
	case datapath.NoticeDrained:
		ev.Kind = connfsm.Drained
	case datapath.NoticeFlushed:
		ev.Kind = connfsm.Flushed
	case datapath.NoticePeerFin:
		ev.Kind = connfsm.PeerFin
	default:
		e.log.Error("unknown notice", "kind", uint32(n.Kind))
		return
	}
	e.postNotice(n.Cookie, ev)
}

// causeDelay is how long a connection whose work has been flushed waits for CM to say why, before its
// tokens end with ECONNRESET: a device that is removed flushes first, and tells then.
const causeDelay = time.Second

func (e *Engine) postNotice(cookie uint64, ev connfsm.Event) {
	e.loop.post(func() {
		if c := e.cookies[cookie]; c != nil {
			c.step(ev)
		}
	})
}

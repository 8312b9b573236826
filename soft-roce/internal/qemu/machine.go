package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is a running QEMU.
type Machine struct {
	Console *Console
	Port    net.Conn // the other end of the guest's virtio-serial port
	Monitor *Monitor

	keys   net.Conn // the console's other direction
	cmd    *exec.Cmd
	stderr lockedBuffer
	done   chan struct{}
	err    error // how QEMU ended; valid once done is closed
}

// Start starts a machine. link is the socket that carries its network card's frames, nil for none;
// Start takes it over. The console is copied to tee if that is not nil.
//
// The machine dies with this process, however that ends.
func Start(spec Spec, link *os.File, tee io.Writer) (*Machine, error) {
	if link != nil {
		defer link.Close()
	}
	binary := spec.Binary
	if binary == "" {
		binary = "qemu-system-x86_64"
	}
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, fmt.Errorf("%w (Debian package qemu-system-x86)", err)
	}
	var sockets pairs
	defer sockets.closeInner()
	console, monitor, port := sockets.open(), sockets.open(), sockets.open()
	if sockets.err != nil {
		sockets.closeOuter()
		return nil, fmt.Errorf("sockets for QEMU: %w", sockets.err)
	}
	m := &Machine{Port: port, done: make(chan struct{})}
	m.cmd = exec.Command(path, spec.args(link != nil)...)
	m.cmd.Stdout, m.cmd.Stderr = &m.stderr, &m.stderr
	m.cmd.ExtraFiles = sockets.inner
	if link != nil {
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, link)
	}
	// A group of its own: Ctrl-C in the terminal is for us, who then end the guest in order.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := m.launch(); err != nil {
		sockets.closeOuter()
		return nil, err
	}
	m.keys = console
	m.Console = newConsole(console, tee)
	m.Monitor = newMonitor(monitor)
	return m, nil
}

// launch starts QEMU and waits for its end in the background. The parent-death signal comes when
// the *thread* that started a child ends, so one thread does both and nothing else.
func (m *Machine) launch() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		m.err = m.cmd.Wait()
		close(m.done)
	}()
	return <-started
}

// Done is closed when QEMU has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Err says how QEMU ended and what it complained of. It is to be called after Done; nil means that
// the guest powered off.
func (m *Machine) Err() error {
	<-m.done
	text := strings.TrimSpace(m.stderr.String())
	switch {
	case m.err == nil:
		return nil
	case text == "":
		return fmt.Errorf("qemu: %w", m.err)
	default:
		return fmt.Errorf("qemu: %w: %s", m.err, text)
	}
}

// SysRq makes the kernel carry out a magic system request, which it does even when nothing else in
// the guest answers.
func (m *Machine) SysRq(key byte) error {
	if err := m.Monitor.Break(); err != nil {
		return err
	}
	_, err := m.keys.Write([]byte{key})
	return err
}

// Stop ends QEMU at once without waiting for it; Kill or Shutdown are still to be called.
func (m *Machine) Stop() { _ = m.cmd.Process.Kill() }

// Kill ends QEMU at once, as if the power had gone, and frees everything. It may be called twice.
func (m *Machine) Kill() {
	m.Stop()
	m.release()
}

// Shutdown waits up to grace for a guest that has been told to power off, then kills it.
func (m *Machine) Shutdown(grace time.Duration) {
	select {
	case <-m.done:
		m.release()
	case <-time.After(grace):
		m.Kill()
	}
}

func (m *Machine) release() {
	<-m.done
	m.Console.End(time.Second)
	m.Monitor.Close()
	_ = m.keys.Close()
	_ = m.Port.Close()
}

// pairs makes socket pairs: one end for us, the other for the child.
type pairs struct {
	inner []*os.File
	outer []net.Conn
	err   error
}

func (p *pairs) open() net.Conn {
	if p.err != nil {
		return nil
	}
	ours, theirs, err := SocketPair()
	if err != nil {
		p.err = err
		return nil
	}
	defer ours.Close() // FileConn duplicates it
	conn, err := net.FileConn(ours)
	if err != nil {
		p.err = errors.Join(err, theirs.Close())
		return nil
	}
	p.inner = append(p.inner, theirs)
	p.outer = append(p.outer, conn)
	return conn
}

func (p *pairs) closeInner() {
	for _, f := range p.inner {
		_ = f.Close()
	}
}

func (p *pairs) closeOuter() {
	for _, c := range p.outer {
		_ = c.Close()
	}
}

// SocketPair returns two connected stream sockets, as a network cable between two machines needs.
func SocketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "socketpair"), os.NewFile(uintptr(fds[1]), "socketpair"), nil
}

// lockedBuffer collects what QEMU says on its standard error.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

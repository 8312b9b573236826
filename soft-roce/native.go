package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	"catmint/soft-roce/internal/wire"
	"catmint/soft-roce/testbed"
)

// nativeHost runs commands on this machine.
type nativeHost struct{ env map[string]string }

type nativeProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
	exit wire.Exit
}

func (n nativeHost) Start(c testbed.Command) (process, error) {
	p := &nativeProcess{done: make(chan struct{})}
	p.cmd = exec.Command(c.Args[0], c.Args[1:]...)
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(os.Environ(), c.Env...)
	for _, key := range slices.Sorted(maps.Keys(n.env)) {
		p.cmd.Env = append(p.cmd.Env, key+"="+n.env[key])
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.TTY == nil {
		p.cmd.SysProcAttr.Setpgid = true
	}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal belongs to the thread that starts the command.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.wait()
		}
	}()
	if err := <-started; err != nil {
		notFound := errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist)
		p.exit = wire.Exit{Error: err.Error(), NotFound: notFound}
		close(p.done)
	}
	return p, nil
}

func (p *nativeProcess) wait() {
	_ = p.cmd.Wait() // ProcessState tells
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		p.exit = wire.Exit{Signal: int(ws.Signal())}
	} else {
		p.exit = wire.Exit{Code: p.cmd.ProcessState.ExitCode()}
	}
	close(p.done)
}

func (p *nativeProcess) Done() <-chan struct{} { return p.done }

func (p *nativeProcess) Wait() (int, error) {
	<-p.done
	return p.exit.Status(), nil
}

func (p *nativeProcess) Reason() string {
	<-p.done
	return p.exit.Error
}

func (p *nativeProcess) Signal(sig syscall.Signal) error {
	return syscall.Kill(-p.cmd.Process.Pid, sig)
}

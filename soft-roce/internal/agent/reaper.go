package agent

import (
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// Reaper collects the orphans that end up with PID 1, and only those: the commands that the agent
// started itself are left for their own Wait. A nil Reaper collects nothing.
type Reaper struct {
	mu   sync.Mutex // held while a child is started, until it is known as ours
	ours map[int]bool
	wake chan os.Signal
	done chan struct{}
}

// NewReaper returns a Reaper and starts it. It works until Stop.
func NewReaper() *Reaper {
	r := &Reaper{ours: make(map[int]bool), wake: make(chan os.Signal, 1), done: make(chan struct{})}
	signal.Notify(r.wake, unix.SIGCHLD)
	go func() {
		defer close(r.done)
		for range r.wake {
			r.collect()
		}
	}()
	return r
}

// Stop ends the collecting. No command of the agent's may be running any more.
func (r *Reaper) Stop() {
	signal.Stop(r.wake)
	close(r.wake)
	<-r.done
}

// collect reaps orphans until there is none, or until the next in line is one of ours: then its
// own Wait is about to take it, and ended starts another round.
func (r *Reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		pid, err := nextDead()
		if err != nil || pid == 0 || r.ours[pid] {
			return
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil {
			return
		}
	}
}

func (r *Reaper) start(cmd *exec.Cmd, started func()) error {
	if r == nil {
		if err := cmd.Start(); err != nil {
			return err
		}
		started()
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	r.ours[cmd.Process.Pid] = true
	started()
	return nil
}

func (r *Reaper) ended(pid int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	delete(r.ours, pid)
	r.mu.Unlock()
	select {
	case r.wake <- unix.SIGCHLD:
	default:
	}
}

// nextDead returns the process number of a child that has ended and was not waited for, 0 if there
// is none, without reaping it.
func nextDead() (int, error) {
	var info siginfo
	err := unix.Waitid(unix.P_ALL, 0, info.raw(), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return info.pid(), err
}

package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"catmint/soft-roce/internal/initramfs"
	"catmint/soft-roce/internal/kernel"
	"catmint/soft-roce/internal/qemu"
	"catmint/soft-roce/internal/roce"
)

// powerOffGrace is how long hosts that are told to power off get for it. Tests shorten it.
var powerOffGrace = 5 * time.Second

// Bed is one or two running hosts.
type Bed struct {
	hosts []*Host
}

// Start boots the hosts and returns once RDMA can be used on all of them. ctx bounds the start
// only; afterwards Close ends the hosts.
func Start(ctx context.Context, cfg Config) (*Bed, error) {
	if err := cfg.normalize(); err != nil {
		return nil, err
	}
	b, err := newBuilder(ctx, cfg)
	if err != nil {
		return nil, err
	}
	memory := qemu.AccelMemory{
		Dir:     filepath.Join(cfg.CacheDir, "accel"),
		Machine: qemu.ThisMachine(cfg.QEMU),
	}
	accel, certain, err := memory.Choose(qemu.Accel(cfg.Accel))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.BootTimeout,
		fmt.Errorf("not ready after %v", cfg.BootTimeout))
	defer cancel()
	if !certain {
		bed, err := b.boot(ctx, accel, helloKVM)
		var dead *deadError
		switch {
		case err == nil:
			return bed, memory.Learn(true, "")
		case !errors.As(err, &dead):
			return nil, err // KVM or not, this is something else
		}
		cfg.say("KVM does not boot a guest on this machine (%v); going on without it", dead.cause)
		if err := memory.Learn(false, dead.cause.Error()); err != nil {
			return nil, err
		}
		accel = qemu.TCG
	}
	return b.bootStubbornly(ctx, accel)
}

// bootStubbornly boots, and under TCG does so again if a guest dies on the way.
func (b *builder) bootStubbornly(ctx context.Context, accel qemu.Accel) (*Bed, error) {
	limit, attempts := helloTCG, bootAttempts
	if accel == qemu.KVM {
		limit, attempts = helloKVM, 1
	}
	for attempt := 1; ; attempt++ {
		bed, err := b.boot(ctx, accel, limit)
		var dead *deadError
		if err == nil || attempt == attempts || !errors.As(err, &dead) {
			return bed, err
		}
		b.cfg.say("%v; starting again", err)
	}
}

// builder has what all the machines of a bed are made of.
type builder struct {
	cfg    Config
	kernel *kernel.Kernel
	image  string
}

func newBuilder(ctx context.Context, cfg Config) (*builder, error) {
	store := kernel.Store{Dir: cfg.CacheDir, Log: cfg.Log}
	k, err := store.Get(ctx, cfg.Kernel)
	if err != nil {
		return nil, err
	}
	init, err := findInit(ctx, cfg)
	if err != nil {
		return nil, err
	}
	image, err := initramfs.Cached(filepath.Join(cfg.CacheDir, "initramfs"),
		initramfs.Spec{Kernel: k, Init: init, Extra: cfg.Modules})
	if err != nil {
		return nil, err
	}
	return &builder{cfg: cfg, kernel: k, image: image}, nil
}

// boot starts the machines and waits until all are ready. One that has not said hello after the
// limit counts as dead.
func (b *builder) boot(ctx context.Context, accel qemu.Accel, limit time.Duration) (*Bed, error) {
	bed := &Bed{}
	var links [2]*os.File
	if b.cfg.Hosts == 2 {
		var err error
		if links[0], links[1], err = qemu.SocketPair(); err != nil {
			return nil, err
		}
	}
	for i := range b.cfg.Hosts {
		h, err := b.start(i, accel, links[i])
		if err != nil {
			if b.cfg.Hosts == 2 && i == 0 {
				_ = links[1].Close()
			}
			bed.Close()
			return nil, err
		}
		bed.hosts = append(bed.hosts, h)
	}
	if err := bed.waitReady(ctx, limit); err != nil {
		bed.kill()
		return nil, err
	}
	return bed, nil
}

func (b *builder) start(i int, accel qemu.Accel, link *os.File) (*Host, error) {
	name := string(rune('a' + i))
	plan, err := roce.PlanFor(name, b.cfg.Hosts == 2, b.cfg.MTU)
	if err != nil {
		return nil, err
	}
	machine, err := qemu.Start(qemu.Spec{
		Binary: b.cfg.QEMU, Name: name, Kernel: b.kernel.Image, Initramfs: b.image, Accel: accel,
		MemoryMiB: b.cfg.MemoryMiB, CPUs: b.cfg.CPUs, IdlePoll: b.cfg.IdlePoll, ICount: b.cfg.ICount,
		Writable: b.cfg.Writable,
	}, link, b.cfg.Console)
	if err != nil {
		return nil, err
	}
	return newHost(name, machine, b.kernel.Modules, b.cfg.Writable, plan), nil
}

// waitReady waits until each host is ready, or one fails.
func (b *Bed) waitReady(ctx context.Context, limit time.Duration) error {
	errs := make(chan error, len(b.hosts))
	for _, h := range b.hosts {
		go func() { errs <- h.waitReady(ctx, limit) }()
	}
	for range b.hosts {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// Hosts returns the hosts, a first.
func (b *Bed) Hosts() []*Host { return b.hosts }

// A returns the first host.
func (b *Bed) A() *Host { return b.hosts[0] }

// B returns the second host, nil if there is none.
func (b *Bed) B() *Host {
	if len(b.hosts) < 2 {
		return nil
	}
	return b.hosts[1]
}

// Close ends the hosts in order and frees everything. It may be called twice.
func (b *Bed) Close() {
	var wg sync.WaitGroup
	for _, h := range b.hosts {
		wg.Go(h.shutDown)
	}
	wg.Wait()
}

func (b *Bed) kill() {
	for _, h := range b.hosts {
		h.PowerOff()
	}
}

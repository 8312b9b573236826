package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"catmint/soft-roce/internal/agent"
	"catmint/soft-roce/internal/roce"
	"catmint/soft-roce/internal/wire"
)

// portDeadline bounds the wait for RoCE's GIDs. They come within milliseconds.
const portDeadline = 30 * time.Second

// Main runs the guest from boot to power-off and does not return.
func Main() {
	err := run()
	if err != nil {
		// The console is all that is left to speak through.
		fmt.Fprintln(os.Stderr, "soft-roce guest:", err)
	}
	powerOff()
}

func run() error {
	reaper := agent.NewReaper()
	clock := newStopwatch()
	if err := mountKernel("/"); err != nil {
		return err
	}
	manifest, err := readManifest()
	if err != nil {
		return err
	}
	if err := loadModules(manifest.Early); err != nil {
		return err
	}
	clock.lap("modules for files")

	port, err := openPort()
	if err != nil {
		return err
	}
	out := wire.NewWriter(port)
	if err := out.Send(wire.TypeHello, 0, nil); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	ready, err := setup(port, manifest, clock)
	if err != nil {
		_ = out.Send(wire.TypeFailed, 0, []byte(err.Error()))
		return err
	}
	if err := out.SendJSON(wire.TypeReady, 0, ready); err != nil {
		return fmt.Errorf("report ready: %w", err)
	}
	var env []string
	for _, key := range slices.Sorted(maps.Keys(ready.Env)) {
		env = append(env, key+"="+ready.Env[key])
	}
	return agent.New(port, out, env, reaper).Serve()
}

// setup makes a Soft-RoCE host of the guest.
func setup(port *os.File, manifest Manifest, clock *stopwatch) (wire.Ready, error) {
	var boot wire.Boot
	f, err := wire.ReadFrame(port)
	if err != nil {
		return wire.Ready{}, fmt.Errorf("read the configuration: %w", err)
	}
	if err := f.Decode(&boot); err != nil {
		return wire.Ready{}, err
	}
	clock.lap("hello")

	// The files of late modules are in the initramfs, which is out of reach once the root is
	// switched: read them all first.
	late, err := readModules(manifest.Late)
	if err != nil {
		return wire.Ready{}, err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- late.load() }()
	if err := switchRoot(boot.Writable); err != nil {
		return wire.Ready{}, err
	}
	clock.lap("root")
	if err := <-loaded; err != nil {
		return wire.Ready{}, err
	}
	clock.lap("modules for RDMA")

	if err := tune(boot.Host); err != nil {
		return wire.Ready{}, err
	}
	if err := roce.Loopback(); err != nil {
		return wire.Ready{}, err
	}
	if err := roce.Network(boot.Net); err != nil {
		return wire.Ready{}, err
	}
	clock.lap("network")
	ctx, cancel := context.WithTimeout(context.Background(), portDeadline)
	defer cancel()
	if err := roce.AddDevice(ctx, boot.Net); err != nil {
		return wire.Ready{}, err
	}
	if err := waitNodes(ctx); err != nil {
		return wire.Ready{}, err
	}
	clock.lap("rxe")

	env, err := roce.Environment(boot.Host, boot.Net)
	if err != nil {
		return wire.Ready{}, err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return wire.Ready{}, err
	}
	return wire.Ready{
		Kernel:  unix.ByteSliceToString(uts.Release[:]),
		Env:     env,
		Phases:  clock.phases,
		Uptime:  uptime(),
		Devices: []string{roce.Device},
	}, nil
}

// tune sets what a host for RDMA needs and a default guest does not have.
func tune(host string) error {
	if err := unix.Sethostname([]byte("soft-roce-" + host)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	// Everything pinned counts against RLIMIT_MEMLOCK, which commands inherit.
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil {
		return fmt.Errorf("raise RLIMIT_MEMLOCK: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("set RLIMIT_CORE: %w", err)
	}
	return nil
}

func readManifest() (Manifest, error) {
	var m Manifest
	data, err := os.ReadFile(ManifestPath)
	if err != nil {
		return m, fmt.Errorf("module list: %w", err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("module list %s: %w", ManifestPath, err)
	}
	return m, nil
}

func powerOff() {
	runtime.LockOSThread()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// Without a way to power off the kernel halts instead. Ending PID 1 makes it panic, and the
	// panic, by the command line, resets the machine, which QEMU takes as the end.
	os.Exit(1)
}

// stopwatch notes how long each phase took.
type stopwatch struct {
	last   time.Time
	phases []wire.Phase
}

func newStopwatch() *stopwatch {
	return &stopwatch{
		last:   time.Now(),
		phases: []wire.Phase{{Name: "kernel", Took: uptime()}},
	}
}

func (s *stopwatch) lap(name string) {
	now := time.Now()
	s.phases = append(s.phases, wire.Phase{Name: name, Took: now.Sub(s.last)})
	s.last = now
}

func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

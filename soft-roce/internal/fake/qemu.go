package fake

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"catmint/soft-roce/internal/agent"
	"catmint/soft-roce/internal/roce"
	"catmint/soft-roce/internal/wire"
)

// Variable is the environment variable that turns a test's binary into QEMU and says how it
// behaves.
const Variable = "SOFT_ROCE_FAKE_QEMU"

// CountFile names a file, by an environment variable, that grows by one byte with each machine.
const CountFile = "SOFT_ROCE_FAKE_COUNT"

// Ways in which the fake behaves.
const (
	Works       = "works"
	Mute        = "mute"          // runs, and never says anything
	Crashes     = "crashes"       // ends at once, with an error message
	CrashesOnce = "crashes-once"  // the first machine does, the others work
	KVMCrashes  = "kvm-crashes"   // crashes if it is to use KVM
	Fails       = "fails"         // its guest finds something wrong
	Deaf        = "deaf"          // becomes ready, then carries nothing out
	DiesOnExec  = "dies-on-exec"  // becomes ready, then panics at the first command
	StaysOn     = "stays-on"      // does not power off when told to
	Chatty      = "talks-rubbish" // sends what is no frame
)

// Console is what the fake's console shows, Dump what is added for a magic system request.
const (
	Console = "fake console: booting\n"
	Dump    = "fake console: blocked tasks\n"
)

// Main turns the process into QEMU if the environment says so; otherwise it returns.
func Main() {
	mode := os.Getenv(Variable)
	if mode == "" {
		return
	}
	if slices.Contains(os.Args, "--version") {
		fmt.Println("QEMU emulator version 0.0 (fake)")
		os.Exit(0)
	}
	if len(os.Args) < 2 || os.Args[1] != "-name" {
		return // the binary in another of its roles
	}
	// What the agent starts must not become QEMU in its turn.
	_ = os.Unsetenv(Variable)
	os.Exit(run(mode))
}

func count() int {
	path := os.Getenv(CountFile)
	if path == "" {
		return 1
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	defer f.Close()
	_, _ = f.Write([]byte("x"))
	info, err := f.Stat()
	if err != nil {
		return 1
	}
	return int(info.Size())
}

func run(mode string) int {
	number := count()
	kvm := slices.Contains(os.Args, "kvm")
	console := socket(3)
	_, _ = console.Write([]byte(Console))
	go serveMonitor(socket(4), console)
	port := socket(5)
	switch {
	case mode == Crashes, mode == CrashesOnce && number == 1, mode == KVMCrashes && kvm:
		fmt.Fprintln(os.Stderr, "fake qemu: cannot do that")
		return 1
	case mode == Mute:
		select {}
	case mode == Chatty:
		_, _ = port.Write(make([]byte, 64))
		select {}
	}
	return serveGuest(mode, port, console)
}

func socket(fd uintptr) net.Conn {
	file := os.NewFile(fd, "socket")
	conn, err := net.FileConn(file) // a duplicate that what the agent starts does not inherit
	_ = file.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fake qemu:", err)
		os.Exit(1)
	}
	return conn
}

func serveGuest(mode string, port, console net.Conn) int {
	out := wire.NewWriter(port)
	if out.Send(wire.TypeHello, 0, nil) != nil {
		return 0
	}
	var boot wire.Boot
	f, err := wire.ReadFrame(port)
	if err != nil || f.Decode(&boot) != nil {
		return 0
	}
	if mode == Fails {
		_ = out.Send(wire.TypeFailed, 0, []byte("load module rdma_rxe: fake"))
		return 0
	}
	env, err := roce.Environment(boot.Host, boot.Net)
	if err != nil {
		return 1
	}
	if out.SendJSON(wire.TypeReady, 0, wire.Ready{Kernel: "0.0-fake", Env: env}) != nil {
		return 0
	}
	switch mode {
	case Deaf:
		select {}
	case DiesOnExec:
		_, _ = wire.ReadFrame(port)
		_ = port.Close() // QEMU ends in no particular order: the last words may come last
		_, _ = console.Write([]byte("Kernel panic - not syncing: fake\n"))
		return 0
	}
	var list []string
	for key, value := range env {
		list = append(list, key+"="+value)
	}
	slices.Sort(list)
	_ = agent.New(port, out, list, nil).Serve()
	if mode == StaysOn {
		select {}
	}
	return 0
}

// serveMonitor answers QMP commands. What it was asked is shown on the console.
func serveMonitor(conn, console net.Conn) {
	reply := func(v any) {
		line, err := json.Marshal(v)
		if err == nil {
			_, _ = conn.Write(append(line, '\n'))
		}
	}
	reply(map[string]any{"QMP": map[string]any{"version": map[string]any{}}})
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var request struct {
			Execute   string
			Arguments map[string]any
		}
		if json.Unmarshal(lines.Bytes(), &request) != nil {
			return
		}
		reply(map[string]any{"event": "RTC_CHANGE", "data": map[string]any{"offset": 0}})
		switch {
		case request.Execute == "chardev-send-break":
			_, _ = console.Write([]byte(Dump))
		case request.Execute != "qmp_capabilities":
			fmt.Fprintf(console, "fake monitor: %s %v\n", request.Execute, request.Arguments)
		}
		if request.Execute == "set_link" && !strings.Contains(strings.Join(os.Args, " "), "-netdev") {
			reply(map[string]any{"error": map[string]any{
				"class": "DeviceNotFound", "desc": "Device 'net0' not found",
			}})
			continue
		}
		reply(map[string]any{"return": map[string]any{}})
	}
}

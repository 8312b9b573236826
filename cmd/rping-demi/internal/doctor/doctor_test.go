package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/libos"
	"catmint/rdma"
)

// machine is a made-up host: a healthy one with rxe0 on eth0, until a test changes it.
type machine struct {
	t *testing.T
	Host
	netdevs []Netdev
	limit   Memlock
	probes  []rdma.DeviceProbe
	mode    string
	connect error
	nodes   map[string]error // what opening a node answers
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, mode: "shared", nodes: map[string]error{}}
	m.limit = Memlock{Soft: unix.RLIM_INFINITY, Hard: unix.RLIM_INFINITY}
	m.netdevs = []Netdev{
		{Name: "lo", Up: true, Loopback: true, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		{Name: "eth0", Up: true, Ethernet: true, Default: true, Addrs: []netip.Addr{
			netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1"),
		}},
	}
	m.probes = []rdma.DeviceProbe{{Name: "rxe0"}}
	m.Host = Host{
		Root: t.TempDir(), Kernel: "6.12.1",
		OpenNode: func(path string) error {
			if err := m.nodes[filepath.Base(path)]; err != nil {
				return err
			}
			_, err := os.Stat(path)
			return errors.Unwrap(err)
		},
		Probe:     func() ([]rdma.DeviceProbe, error) { return m.probes, nil },
		Netdevs:   func() ([]Netdev, error) { return m.netdevs, nil },
		Served:    func(string) (string, error) { return "", syscall.ENODEV },
		NetnsMode: func() (string, error) { return m.mode, nil },
		Memlock:   func() (Memlock, error) { return m.limit, nil },
		Connect: func(context.Context, netip.Addr) (time.Duration, error) {
			return 3 * time.Millisecond, m.connect
		},
	}
	m.file("sys/class/infiniband_verbs/abi_version", "6")
	m.file("sys/class/misc/rdma_cm/dev", "10:122")
	m.file("proc/modules", "rdma_ucm 1 0 - Live 0x0\nrdma_rxe 1 0 -\nrdma_cm 1 1 rdma_ucm,\nib_uverbs 1 2 -\nib_core 1 1 -\n")
	m.file("sys/module/rdma_rxe/refcnt", "0")
	m.file("dev/infiniband/rdma_cm", "")
	m.device("rxe0", "uverbs0", "eth0")
	return m
}

func (m *machine) file(path, text string) {
	m.t.Helper()
	full := filepath.Join(m.Root, path)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(m.t, os.WriteFile(full, []byte(text+"\n"), 0o644))
}

func (m *machine) remove(path string) {
	m.t.Helper()
	full := filepath.Join(m.Root, path)
	require.FileExists(m.t, linkedFile(full))
	require.NoError(m.t, os.RemoveAll(full))
}

// linkedFile is path, or something in it if it is a folder.
func linkedFile(path string) string {
	for {
		entries, err := os.ReadDir(path)
		if err != nil || len(entries) == 0 {
			return path
		}
		path = filepath.Join(path, entries[0].Name())
	}
}

// device adds a RoCE device with a link-local and an IPv4 GID, and an empty entry.
func (m *machine) device(name, uverbs, netdev string) {
	m.t.Helper()
	m.file("sys/class/infiniband_verbs/"+uverbs+"/ibdev", name)
	m.file("dev/infiniband/"+uverbs, "")
	port := "sys/class/infiniband/" + name + "/ports/1/"
	m.file(port+"state", "4: ACTIVE")
	m.file(port+"link_layer", "Ethernet")
	for i, gid := range []string{"fe80:0000:0000:0000:0000:0000:0000:0001", "0000:0000:0000:0000:0000:ffff:c000:0201"} {
		n := string(rune('0' + i))
		m.file(port+"gids/"+n, gid)
		m.file(port+"gid_attrs/types/"+n, "RoCE v2")
		m.file(port+"gid_attrs/ndevs/"+n, netdev)
	}
	m.file(port+"gids/2", "0000:0000:0000:0000:0000:0000:0000:0000")
}

func (m *machine) examine() Report {
	m.t.Helper()
	return Examine(m.t.Context(), m.Host)
}

func TestAHealthyMachineHasNothingToDo(t *testing.T) {
	r := newMachine(t).examine()
	assert.Equal(t, OK, r.Verdict)
	for _, f := range r.Findings {
		assert.Equal(t, OK, f.Status, f.Text)
		assert.Empty(t, f.Do)
		assert.Empty(t, f.Code)
	}
	assert.Equal(t, []Address{{netip.MustParseAddr("192.0.2.1"), "eth0", "rxe0"}}, r.Addresses)
	assert.Contains(t, r.Summary, "rping-demi -s -a 192.0.2.1")
}

func TestEachProblemIsFoundAndSaysWhatToDo(t *testing.T) {
	const port = "sys/class/infiniband/rxe0/ports/1/"
	noDevice := func(m *machine) {
		m.remove("sys/class/infiniband")
		m.remove("sys/class/infiniband_verbs/uverbs0")
		m.probes = nil
	}
	container := func(m *machine) { m.file(".dockerenv", "") }
	for _, tc := range []struct {
		name   string
		break_ func(*machine)
		code   Code
		status Status
		text   string
		do     string
	}{
		{"no device, rxe is loaded", noDevice, NoDevice, Failure, "no RDMA device", "rdma link add rxe0 type rxe netdev eth0 (as root)"},
		{"no device, rxe is a module", func(m *machine) {
			noDevice(m)
			m.remove("sys/module/rdma_rxe")
			m.file("lib/modules/6.12.1/modules.dep", "kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko.xz: kernel/x.ko")
		}, NoDevice, Failure, "no RDMA device", "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0"},
		{"no device, a kernel without rxe", func(m *machine) {
			noDevice(m)
			m.remove("sys/module/rdma_rxe")
			m.file("lib/modules/6.12.1/modules.dep", "kernel/x.ko:")
		}, NoRxe, Failure, "kernel 6.12.1 has no rdma_rxe", "linux-image-amd64"},
		{"no device, nothing known of modules", func(m *machine) {
			noDevice(m)
			m.remove("sys/module/rdma_rxe")
		}, NoDevice, Failure, "no RDMA device", "if kernel 6.12.1 has rdma_rxe"},
		{"no device, in a container", func(m *machine) {
			noDevice(m)
			container(m)
		}, NoDevice, Failure, "no RDMA device", "on the host of this container"},
		{"no device in this namespace", func(m *machine) {
			noDevice(m)
			m.mode = "exclusive"
		}, NoDevice, Failure, "in this network namespace", "rdma dev set"},
		{"no device, and no network device", func(m *machine) {
			noDevice(m)
			m.netdevs = m.netdevs[:1]
		}, NoDevice, Failure, "no RDMA device", "netdev NETDEV"},
		{"ib_uverbs is missing", func(m *machine) { m.remove("sys/class/infiniband_verbs") }, NoUverbs, Failure, "ib_uverbs", "modprobe ib_uverbs"},
		{"rdma_ucm is missing", func(m *machine) { m.remove("sys/class/misc/rdma_cm") }, NoUCM, Failure, "rdma_ucm", "modprobe rdma_ucm"},
		{"wrong order of modules", func(m *machine) {
			m.file("proc/modules", "ib_uverbs 1 2 -\nrdma_cm 1 1 rdma_ucm,\n")
		}, ModuleOrder, Warning, "after rdma_cm", "load ib_uverbs before rdma_ucm"},
		{"no nodes", func(m *machine) { m.remove("dev/infiniband") }, NoNode, Failure, "/dev/infiniband does not exist", "udev"},
		{"no nodes in a container", func(m *machine) {
			m.remove("dev/infiniband")
			container(m)
		}, NoNode, Failure, "/dev/infiniband does not exist", "--device=/dev/infiniband"},
		{"no node of the connection manager", func(m *machine) { m.remove("dev/infiniband/rdma_cm") }, NoNode, Failure, "rdma_cm of the connection", "udev"},
		{"no permission", func(m *machine) { m.nodes["uverbs0"] = syscall.EACCES }, NoAccess, Failure, "may not open /dev/infiniband/uverbs0", "chmod 666"},
		{"not allowed to the control group", func(m *machine) { m.nodes["uverbs0"] = syscall.EPERM }, NoAccess, Failure, "control group", "--device="},
		{"a stale node", func(m *machine) { m.nodes["uverbs0"] = syscall.ENXIO }, NoNode, Failure, "stale", "anew"},
		{"a node with another error", func(m *machine) { m.nodes["rdma_cm"] = syscall.EIO }, CannotOpen, Failure, "input/output error", "dmesg"},
		{"no uverbs entry", func(m *machine) { m.remove("sys/class/infiniband_verbs/uverbs0") }, NoNode, Failure, "no entry", "dmesg"},
		{"no provider", func(m *machine) { m.probes = nil }, NoProvider, Failure, "no provider library", "ibverbs-providers"},
		{"a provider that fails", func(m *machine) { m.probes[0].Err = syscall.ENOMEM }, CannotOpen, Failure, "cannot allocate memory", "dmesg"},
		{"libibverbs fails", func(m *machine) {
			m.Probe = func() ([]rdma.DeviceProbe, error) { return nil, syscall.EPERM }
		}, CannotOpen, Failure, "cannot list", "dmesg"},
		{"port down", func(m *machine) { m.file(port+"state", "1: DOWN") }, PortDown, Failure, "rxe0 port 1 is DOWN", "ip link set eth0 up"},
		{"InfiniBand without a subnet manager", func(m *machine) {
			m.file(port+"link_layer", "InfiniBand")
			m.file(port+"state", "2: INIT")
		}, NoSubnet, Failure, "no subnet manager", "opensm"},
		{"InfiniBand down", func(m *machine) {
			m.file(port+"link_layer", "InfiniBand")
			m.file(port+"state", "1: DOWN")
		}, PortDown, Failure, "is DOWN", "cable"},
		{"no GID", func(m *machine) { m.remove(port + "gids") }, NoGID, Failure, "no valid GID", "ip address add"},
		{"RoCE v1 only", func(m *machine) {
			m.file(port+"gid_attrs/types/0", "IB/RoCE v1")
			m.file(port+"gid_attrs/types/1", "IB/RoCE v1")
		}, NoRoCEv2, Warning, "RoCE v1 only", "RoCE v2"},
		{"an address without a GID", func(m *machine) {
			m.netdevs[1].Addrs = append(m.netdevs[1].Addrs, netip.MustParseAddr("192.0.2.7"))
		}, AddrNoGID, Warning, "192.0.2.7 of eth0 has no GID", "ip address del, add"},
		{"the network device is elsewhere", func(m *machine) { m.netdevs = m.netdevs[:1] }, OtherNetns, Failure, "eth0, which is not in this network namespace", "--network=host"},
		{"no address", func(m *machine) { m.netdevs[1].Addrs = nil }, NoAddress, Failure, "has no address", "ip address add"},
		{"another network device", func(m *machine) {
			m.netdevs = append(m.netdevs, Netdev{Name: "eth1", Ethernet: true, Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}})
		}, NetdevNoLink, Note, "eth1 has no RDMA device", "rdma link add rxe1 type rxe netdev eth1"},
		{"a network device that is no Ethernet", func(m *machine) {
			m.netdevs = append(m.netdevs, Netdev{Name: "tun0", Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}})
		}, NetdevNoLink, Note, "tun0 has no RDMA device", "nothing"},
		{"no network devices known", func(m *machine) {
			m.Netdevs = func() ([]Netdev, error) { return nil, syscall.EPERM }
		}, NoNetdevs, Failure, "cannot be listed", "AF_NETLINK"},
		{"little memory may be locked", func(m *machine) { m.limit.Soft = 64 << 10 }, LowMemlock, Warning, "may lock 64 KiB", "ulimit -l unlimited"},
		{"some memory may be locked", func(m *machine) { m.limit.Soft = 8 << 20 }, LowMemlock, Warning, "may lock 8 MiB", "ulimit -l unlimited"},
		{"the limit cannot be read", func(m *machine) {
			m.Host.Memlock = func() (Memlock, error) { return Memlock{}, syscall.EPERM }
		}, LowMemlock, Warning, "cannot be read", ""},
		{"no connection", func(m *machine) { m.connect = syscall.EPROTO }, ConnectFailed, Failure, "to itself over rxe0 fails", "DEMI_LOG=debug"},
		{"no connection, with a hint", func(m *machine) {
			m.connect = &libos.ConnectError{Op: "connect", Err: syscall.ENOMEM, Hint: "raise it"}
		}, ConnectFailed, Failure, "connect : cannot allocate memory", "raise it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t)
			tc.break_(m)
			r := m.examine()
			var found []Finding
			for _, f := range r.Findings {
				if f.Code == tc.code {
					found = append(found, f)
				}
			}
			require.NotEmpty(t, found, "%+v", r.Findings)
			assert.Equal(t, tc.status, found[0].Status)
			assert.Contains(t, found[0].Text, tc.text)
			assert.Contains(t, found[0].Do, tc.do)
			assert.NotContains(t, found[0].Text+found[0].Do, "\n")
			switch tc.status {
			case Failure:
				assert.Equal(t, Failure, r.Verdict)
				assert.Empty(t, r.Addresses)
				assert.Contains(t, r.Summary, "does not work here yet")
			case Warning:
				assert.Equal(t, Warning, r.Verdict)
			case Note, OK:
				assert.Equal(t, OK, r.Verdict)
			}
			assert.Equal(t, strings.HasPrefix(tc.name, "no device"), r.NoDevice)
		})
	}
}

func TestLimitsThatSufficeAreOK(t *testing.T) {
	for want, limit := range map[string]Memlock{
		"64 MiB":       {Soft: 64 << 20},
		"CAP_IPC_LOCK": {Soft: 1, Privileged: true},
		"not limited":  {Soft: unix.RLIM_INFINITY},
	} {
		m := newMachine(t)
		m.limit = limit
		r := m.examine()
		assert.Equal(t, OK, r.Verdict)
		var out bytes.Buffer
		r.Print(&out)
		assert.Contains(t, out.String(), want)
	}
}

func TestAPortWithoutACableIsAWarningWhereAnotherOneWorks(t *testing.T) {
	m := newMachine(t)
	m.device("mlx5_1", "uverbs1", "eth1")
	m.probes = append(m.probes, rdma.DeviceProbe{Name: "mlx5_1"})
	m.netdevs = append(m.netdevs, Netdev{Name: "eth1", Ethernet: true})
	m.file("sys/class/infiniband/mlx5_1/ports/1/state", "1: DOWN")
	r := m.examine()
	assert.Equal(t, Warning, r.Verdict)
	assert.Len(t, r.Addresses, 1)
	assert.Contains(t, r.Summary, "with 1 warning")

	m.connect = syscall.ETIMEDOUT
	assert.Equal(t, Failure, m.examine().Verdict, "the other one does not work either")
}

func TestInfiniBandIsUsedThroughIPoIB(t *testing.T) {
	m := newMachine(t)
	m.file("sys/class/infiniband/rxe0/ports/1/link_layer", "InfiniBand")
	m.remove("sys/class/infiniband/rxe0/ports/1/gid_attrs")
	m.netdevs[1].Name, m.netdevs[1].Ethernet = "ib0", false
	m.Served = func(name string) (string, error) {
		if name == "ib0" {
			return "rxe0", nil
		}
		return "", syscall.ENODEV
	}
	r := m.examine()
	assert.Equal(t, OK, r.Verdict, "%+v", r.Findings)
	assert.Equal(t, "ib0", r.Addresses[0].Netdev)
}

func TestAnIWARPDeviceNeedsNoGIDs(t *testing.T) {
	m := newMachine(t)
	m.file("sys/class/infiniband/rxe0/node_type", "4: RNIC")
	m.remove("sys/class/infiniband/rxe0/ports/1/gids")
	r := m.examine()
	assert.Equal(t, OK, r.Verdict, "%+v", r.Findings)
	assert.Len(t, r.Addresses, 1)
}

func TestAReportIsOneLineAFindingAndTheVerdictLast(t *testing.T) {
	m := newMachine(t)
	m.file("sys/class/infiniband/rxe0/ports/1/state", "1: DOWN")
	r := m.examine()
	var out bytes.Buffer
	r.Print(&out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	assert.Len(t, lines, len(r.Findings)+1)
	assert.Equal(t, r.Summary, lines[len(lines)-1])
	assert.Contains(t, out.String(), "FAIL port     rxe0 port 1 is DOWN: its network device eth0 has no link -> ip link set eth0 up")

	out.Reset()
	require.NoError(t, r.PrintJSON(&out))
	var back Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	back.NoDevice = r.NoDevice
	assert.Equal(t, r, back)
}

// TestThisMachineIsExamined runs the real checks: whatever they find, they end.
func TestThisMachineIsExamined(t *testing.T) {
	r := Examine(t.Context(), ThisHost(func(context.Context, netip.Addr) (time.Duration, error) {
		return 0, syscall.ENOTSUP
	}))
	_, err := os.Stat("/sys/class/infiniband")
	assert.Equal(t, os.IsNotExist(err), r.NoDevice)
	assert.NotEmpty(t, r.Findings)
	t.Logf("%+v", r)
}

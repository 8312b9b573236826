package qemu

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/fake"
	"catmint/soft-roce/internal/wire"
)

const limit = time.Minute

func start(t *testing.T, behaviour string, link *os.File, tee *bytes.Buffer) *Machine {
	t.Helper()
	fake.Bed(t, behaviour)
	s := sample()
	s.Binary = os.Getenv("SOFT_ROCE_QEMU")
	var m *Machine
	var err error
	if tee == nil {
		m, err = Start(s, link, nil)
	} else {
		m, err = Start(s, link, tee)
	}
	require.NoError(t, err)
	t.Cleanup(m.Kill)
	require.NoError(t, m.Port.SetDeadline(time.Now().Add(limit)))
	return m
}

func ended(t *testing.T, m *Machine) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(limit):
		require.Fail(t, "QEMU still runs")
	}
}

func shows(t *testing.T, m *Machine, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(m.Console.Text(), text) },
		limit, time.Millisecond, "console shows %q", text)
}

func TestPortLeadsToTheGuest(t *testing.T) {
	m := start(t, fake.Works, nil, nil)
	f, err := wire.ReadFrame(m.Port)
	require.NoError(t, err)
	assert.Equal(t, wire.TypeHello, f.Type)
}

func TestConsoleIsKeptAndCopied(t *testing.T) {
	var tee bytes.Buffer
	m := start(t, fake.Mute, nil, &tee)
	shows(t, m, fake.Console)
	m.Kill()
	assert.Equal(t, fake.Console, tee.String())
	assert.Equal(t, len(fake.Console), m.Console.Written())
}

func TestAMachineThatCannotStartSaysWhy(t *testing.T) {
	m := start(t, fake.Crashes, nil, nil)
	ended(t, m)
	require.ErrorContains(t, m.Err(), "fake qemu: cannot do that")
	m.Kill() // as often as one likes
}

func TestAMissingQEMUIsNamedWithItsPackage(t *testing.T) {
	s := sample()
	s.Binary = "no-such-qemu"
	_, err := Start(s, nil, nil)
	require.ErrorContains(t, err, "qemu-system-x86")

	// Executable, but no program.
	s.Binary = t.TempDir() + "/qemu"
	require.NoError(t, os.WriteFile(s.Binary, []byte{0}, 0o755))
	_, err = Start(s, nil, nil)
	require.Error(t, err)
}

func TestKillEndsAMachineThatDoesNotAnswer(t *testing.T) {
	m := start(t, fake.Mute, nil, nil)
	m.Kill()
	ended(t, m)
	require.Error(t, m.Err())
}

func TestShutdownKillsOnlyAfterTheGrace(t *testing.T) {
	m := start(t, fake.Mute, nil, nil)
	m.Shutdown(time.Millisecond)
	ended(t, m)

	m = start(t, fake.Works, nil, nil)
	_, err := wire.ReadFrame(m.Port)
	require.NoError(t, err)
	require.NoError(t, m.Port.Close()) // the fake takes the end of the connection for power off
	m.Shutdown(limit)
	require.NoError(t, m.Err())
}

func TestMonitorCarriesOutCommands(t *testing.T) {
	cable, other, err := SocketPair()
	require.NoError(t, err)
	defer other.Close()
	m := start(t, fake.Mute, cable, nil)
	require.NoError(t, m.Monitor.SetLink(false))
	shows(t, m, "set_link map[name:net0 up:false]")
	require.NoError(t, m.Monitor.Pause())
	require.NoError(t, m.Monitor.Resume())
	shows(t, m, "cont map[]")
	require.NoError(t, m.SysRq('w'))
	shows(t, m, fake.Dump)
	var result map[string]any
	require.NoError(t, m.Monitor.Execute("query-status", nil, &result))
}

func TestMonitorReportsRefusals(t *testing.T) {
	m := start(t, fake.Mute, nil, nil)
	err := m.Monitor.SetLink(false)
	var refused *MonitorError
	require.ErrorAs(t, err, &refused, "there is no card")
	assert.Equal(t, "set_link", refused.Command)
	assert.Contains(t, refused.Error(), "net0")
}

func TestMonitorOfADeadMachineIsAnError(t *testing.T) {
	m := start(t, fake.Crashes, nil, nil)
	ended(t, m)
	require.Error(t, m.Monitor.Pause())
	require.Error(t, m.SysRq('w'))
}

func TestAMachineHasAProcessGroupOfItsOwn(t *testing.T) {
	m := start(t, fake.Mute, nil, nil)
	group, err := syscall.Getpgid(m.cmd.Process.Pid)
	require.NoError(t, err)
	assert.Equal(t, m.cmd.Process.Pid, group, "Ctrl-C in a terminal does not reach it")
}

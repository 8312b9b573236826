package roce

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/internal/wire"
)

func TestAHostThatIsAloneIsItsOwnPeer(t *testing.T) {
	plan, err := PlanFor("a", false, 0)
	require.NoError(t, err)
	env, err := Environment("a", plan)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{
		"SOFT_ROCE_HOST": "a", "SOFT_ROCE_HOSTS": "1",
		"SOFT_ROCE_ADDR": "10.77.0.1", "SOFT_ROCE_PEER": "10.77.0.1",
		"SOFT_ROCE_ADDR6": "fd77:ca7::1", "SOFT_ROCE_PEER6": "fd77:ca7::1",
		"SOFT_ROCE_DEVICE": "rxe0", "SOFT_ROCE_NETDEV": "roce0",
	}, env)
	assert.Equal(t, DefaultMTU, plan.MTU)
}

func TestTwoHostsNameEachOther(t *testing.T) {
	a, err := PlanFor("a", true, 1500)
	require.NoError(t, err)
	b, err := PlanFor("b", true, 1500)
	require.NoError(t, err)
	envA, err := Environment("a", a)
	require.NoError(t, err)
	envB, err := Environment("b", b)
	require.NoError(t, err)
	for _, family := range []string{"", "6"} {
		assert.Equal(t, envA["SOFT_ROCE_ADDR"+family], envB["SOFT_ROCE_PEER"+family])
		assert.Equal(t, envB["SOFT_ROCE_ADDR"+family], envA["SOFT_ROCE_PEER"+family])
		assert.NotEqual(t, envA["SOFT_ROCE_ADDR"+family], envB["SOFT_ROCE_ADDR"+family])
	}
	assert.Equal(t, "2", envB["SOFT_ROCE_HOSTS"])
	assert.Equal(t, 1500, a.MTU)
}

func TestPlansThatCannotWorkAreRefused(t *testing.T) {
	_, err := PlanFor("c", true, 0)
	require.ErrorContains(t, err, "there are a and b")
	for _, mtu := range []int{-1, 1279, 65536} {
		_, err = PlanFor("a", false, mtu)
		require.ErrorContains(t, err, "MTU")
	}
	_, err = Environment("a", wire.Net{Addr: "x"})
	require.Error(t, err)
	_, err = Environment("a", wire.Net{Addr: "10.0.0.1/8", Addr6: "x"})
	require.Error(t, err)
	_, err = gidsOf(wire.Net{Addr: "x"})
	require.Error(t, err)
}

func TestGIDsAreWrittenAsInSysfs(t *testing.T) {
	assert.Equal(t, "0000:0000:0000:0000:0000:ffff:0a4d:0001", formatGID(net.ParseIP("10.77.0.1")))
	assert.Equal(t, "fd77:0ca7:0000:0000:0000:0000:0000:0002", formatGID(net.ParseIP("fd77:ca7::2")))
}

// port is a folder that looks like a port's in sysfs.
type port struct {
	t       *testing.T
	folder  string
	carrier string
}

func newPort(t *testing.T) port {
	t.Helper()
	p := port{t, t.TempDir(), filepath.Join(t.TempDir(), "carrier")}
	require.NoError(t, os.Mkdir(filepath.Join(p.folder, "gids"), 0o755))
	return p
}

func (p port) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.folder, name)
	if name == "carrier" {
		path = p.carrier
	}
	require.NoError(p.t, os.WriteFile(path, []byte(text+"\n"), 0o600))
}

func TestAPortIsReadyOnlyWithCarrierStateAndEveryGID(t *testing.T) {
	p := newPort(t)
	plan, err := PlanFor("a", false, 0)
	require.NoError(t, err)
	want, err := gidsOf(plan)
	require.NoError(t, err)
	steps := []struct{ file, text, missing string }{
		{"carrier", "0", "carrier"},
		{"carrier", "1", "active state"},
		{"state", "1: DOWN", "active state"},
		{"state", "4: ACTIVE", "GID " + want[0]},
		{"gids/0", "fe80:0000:0000:0000:0000:0000:0000:0001", "GID " + want[0]},
		{"gids/1", want[0], "GID " + want[1]},
		{"gids/2", want[1], ""},
	}
	assert.Equal(t, "carrier", missingFromPort(p.folder, p.carrier, want))
	for _, step := range steps {
		p.write(step.file, step.text)
		assert.Equal(t, step.missing, missingFromPort(p.folder, p.carrier, want), "after %s", step.file)
	}
	require.NoError(t, waitPort(t.Context(), p.folder, p.carrier, want))
}

func TestWaitingForAPortSaysWhatIsMissing(t *testing.T) {
	p := newPort(t)
	p.write("carrier", "1")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := waitPort(ctx, p.folder, p.carrier, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "still no active state")
}

func TestWaitingForAPortNoticesWhenItComes(t *testing.T) {
	p := newPort(t)
	p.write("carrier", "1")
	done := make(chan error, 1)
	go func() { done <- waitPort(t.Context(), p.folder, p.carrier, nil) }()
	p.write("state", "4: ACTIVE")
	require.NoError(t, <-done)
}

//go:build qemu

package doctor

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/testbed"
)

// patient is a virtual machine of the test's own, whose kernel it may take apart.
type patient struct {
	t *testing.T
	*testbed.Host
	rping string
}

func newPatient(t *testing.T) patient {
	t.Helper()
	rping, err := filepath.Abs("../../../../build/rping-demi")
	require.NoError(t, err)
	require.FileExists(t, rping, "run make build before")
	bed, err := testbed.Start(t.Context(), testbed.Config{})
	require.NoError(t, err)
	t.Cleanup(bed.Close)
	return patient{t, bed.A(), rping}
}

func (p patient) sh(script string) (out string, status int) {
	p.t.Helper()
	var b bytes.Buffer
	status, err := p.Run(p.t.Context(), testbed.Command{Args: []string{"sh", "-c", script}, Stdout: &b, Stderr: os.Stderr})
	require.NoError(p.t, err)
	return b.String(), status
}

func (p patient) must(script string) {
	p.t.Helper()
	out, status := p.sh(script)
	require.Zero(p.t, status, "%s: %s", script, out)
}

func (p patient) examine() (r Report, status int) {
	p.t.Helper()
	out, status := p.sh(p.rping + " --doctor --json")
	require.NoError(p.t, json.Unmarshal([]byte(out), &r), "%s", out)
	return r, status
}

// installModules makes modprobe find the modules that this test needs.
func (p patient) installModules() {
	p.t.Helper()
	script := "set -e; to=/lib/modules/" + p.Kernel() + "; mkdir -p $to; cd " + p.Modules() + "; cp modules.builtin modules.order $to; " +
		"for f in kernel/drivers/infiniband/core kernel/drivers/infiniband/sw/rxe kernel/net/ipv[46]/*udp_tunnel.ko*; do " +
		"mkdir -p $to/${f%/*}; cp -r $f $to/$f; done; depmod 2>/dev/null"
	p.must(script)
}

// commands are what failures name to be done as root, in their order.
func commands(r Report) (cmds []string) {
	for _, f := range r.Findings {
		if f.Status == Failure {
			command, _, _ := strings.Cut(f.Do, " (as root")
			if i := strings.LastIndex(command, ": "); i >= 0 {
				command = command[i+2:]
			}
			cmds = append(cmds, command)
		}
	}
	return cmds
}

func codes(r Report) (all []Code) {
	for _, f := range r.Findings {
		if f.Code != "" {
			all = append(all, f.Code)
		}
	}
	return all
}

// The modules are really taken away, and what the doctor says brings them back.
func TestGuestsWithoutModulesAreMendedByWhatTheDoctorSays(t *testing.T) {
	p := newPatient(t)
	netdev := p.Env()["SOFT_ROCE_NETDEV"]

	p.must("rmmod rdma_ucm")
	r, status := p.examine()
	assert.Equal(t, exitWithoutRDMA, status)
	assert.Equal(t, []Code{NoUCM}, codes(r))
	assert.Equal(t, []string{"modprobe rdma_ucm"}, commands(r))

	p.must("rdma link delete rxe0; rmmod rdma_rxe")
	r, status = p.examine()
	assert.Equal(t, exitWithoutDevice, status)
	assert.Equal(t, []Code{NoDevice, NoUCM}, codes(r))
	assert.Contains(t, r.Findings[0].Do, "if kernel "+p.Kernel()+" has rdma_rxe", "this machine has no list of modules")

	p.installModules()
	p.must("rmmod rdma_cm iw_cm ib_cm ib_uverbs ib_core")
	r, status = p.examine()
	assert.Equal(t, exitWithoutDevice, status)
	assert.Equal(t, []Code{NoDevice, NoUverbs, NoUCM}, codes(r))
	link := "modprobe rdma_rxe && " + rxeLink(netdev)
	require.Equal(t, []string{link, "modprobe ib_uverbs", "modprobe rdma_ucm"}, commands(r))
	for _, command := range commands(r) {
		p.must(command)
	}
	for status = -1; status != 0; { // until the port is up
		r, status = p.examine()
		require.NotEqual(t, exitWithoutDevice, status, "%+v", r.Findings)
	}
	assert.Equal(t, OK, r.Verdict, "%+v", r.Findings)

	// A device without the connection manager.
	p.must("rmmod rdma_ucm")
	r, _ = p.examine()
	for _, command := range commands(r) {
		p.must(command)
	}
	_, status = p.examine()
	assert.Zero(t, status)

	// A kernel without Soft-RoCE.
	p.must("rdma link delete rxe0; rmmod rdma_rxe; rm -r /lib/modules/*/kernel/drivers/infiniband/sw; depmod 2>/dev/null")
	r, status = p.examine()
	assert.Equal(t, exitWithoutDevice, status)
	assert.Equal(t, []Code{NoRxe}, codes(r))
}

const (
	exitWithoutRDMA   = 255
	exitWithoutDevice = 19
)

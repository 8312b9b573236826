//go:build rdma

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	exitFailure  = 255
	exitNoDevice = 19
)

func bed(t *testing.T, key string) string {
	t.Helper()
	value := os.Getenv(key)
	require.NotEmpty(t, value, "%s: run by soft-roce test", key)
	return value
}

// rping is the program that users have. It alone uses devices here: a process that has opened one
// keeps it from being removed.
func rping(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../../../build/rping-demi")
	require.NoError(t, err)
	require.FileExists(t, path, "run make build before")
	return path
}

func sh(t *testing.T, command string) (out string, exit int) {
	t.Helper()
	b, err := exec.CommandContext(context.Background(), "sh", "-c", command).CombinedOutput()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		require.NoError(t, err)
	}
	if status != nil {
		exit = status.ExitCode()
	}
	return string(b), exit
}

func must(t *testing.T, command string) {
	t.Helper()
	out, exit := sh(t, command)
	require.Zero(t, exit, "%s: %s", command, out)
}

// visit runs the doctor in a shell that has been prepared ("" for none), for scripts and for
// people, who are told the same. In short, what people are told is what would be printed.
func visit(t *testing.T, prepare string) (r Report, text string, exit int) {
	t.Helper()
	out, exit := sh(t, prepare+" "+rping(t)+" --doctor --json 2>/dev/null")
	require.NoError(t, json.Unmarshal([]byte(out), &r), "%s", out)
	if testing.Short() && prepare != "" {
		var b strings.Builder
		r.Print(&b)
		return r, b.String(), exit
	}
	text, again := sh(t, prepare+" "+rping(t)+" --doctor 2>/dev/null")
	assert.Equal(t, exit, again)
	return r, text, exit
}

func find(t *testing.T, r Report, code Code) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Code == code {
			return f
		}
	}
	require.Fail(t, "not found", "%s in %+v", code, r.Findings)
	return Finding{}
}

// inMounts is a shell whose view of files is changed by commands.
func inMounts(commands string) string {
	return "unshare -m --propagation private sh -c '" + commands + `; exec "$0" "$@"'`
}

// What usually stops people, on a machine with a device that works until then.
func TestTheDoctorSeesEachProblemOfAMachine(t *testing.T) {
	device, netdev := bed(t, "SOFT_ROCE_DEVICE"), bed(t, "SOFT_ROCE_NETDEV")
	gids := "/sys/class/infiniband/" + device + "/ports/1/gids"
	hidden := t.TempDir()
	modules := filepath.Join(t.TempDir(), "modules")
	require.NoError(t, os.WriteFile(modules, []byte("ib_uverbs 1 2 -\nrdma_ucm 1 0 -\nrdma_cm 1 1 rdma_ucm,\n"), 0o600))
	withoutUverbs := "mount --rbind /sys/class " + hidden + "; mount -t tmpfs none /sys/class; " +
		"for d in infiniband misc net; do mkdir /sys/class/$d; mount --rbind " + hidden + "/$d /sys/class/$d; done"

	r, text, exit := visit(t, "")
	require.Zero(t, exit, text)
	require.NotEqual(t, Failure, r.Verdict)

	for _, tc := range []struct {
		name    string
		prepare string
		code    Code
		status  Status
		do      string
		exit    int
	}{
		{"little locked memory", "ulimit -l 64; exec setpriv --bounding-set=-ipc_lock", LowMemlock, Warning, "ulimit -l unlimited", exitFailure},
		{"too little for a connection", "ulimit -l 64; exec setpriv --bounding-set=-ipc_lock", ConnectFailed, Failure, "ulimit -l unlimited", exitFailure},
		{"some locked memory", "ulimit -l 16384; exec setpriv --bounding-set=-ipc_lock", LowMemlock, Warning, "ulimit -l unlimited", 0},
		{"no provider library", inMounts("mount -t tmpfs none /etc/libibverbs.d"), NoProvider, Failure, "ibverbs-providers", exitFailure},
		{"a provider library gone, its configuration there", inMounts("for f in /usr/lib*/*/libibverbs /usr/lib64/libibverbs; do [ ! -d $f ] || mount -t tmpfs none $f; done"), NoProvider, Failure, "ibverbs-providers", exitFailure},
		{"no device nodes", inMounts("mount -t tmpfs none /dev/infiniband"), NoNode, Failure, "the nodes", exitFailure},
		{"an empty GID table", inMounts("mount -t tmpfs none " + gids), NoGID, Failure, "ip address add ADDRESS/PREFIX dev " + netdev, exitFailure},
		{"without rdma_ucm", inMounts("mount -t tmpfs none /sys/class/misc"), NoUCM, Failure, "modprobe rdma_ucm", exitFailure},
		{"without ib_uverbs", inMounts(withoutUverbs), NoUverbs, Failure, "modprobe ib_uverbs", exitFailure},
		{"modules in the wrong order", inMounts("mount --bind " + modules + " /proc/modules"), ModuleOrder, Warning, "load ib_uverbs before rdma_ucm", 0},
		{"another network namespace", "unshare -n", OtherNetns, Failure, "--network=host", exitFailure},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, text, exit := visit(t, tc.prepare)
			f := find(t, r, tc.code)
			assert.Equal(t, tc.status, f.Status)
			assert.Contains(t, f.Do, tc.do)
			assert.Contains(t, text, marks[f.Status]+strings.Repeat(" ", 5-len(marks[f.Status]))+f.Check)
			assert.Contains(t, text, " -> "+f.Do+"\n")
			if tc.code != ConnectFailed { // whose ports differ from one visit to the next
				assert.Contains(t, text, f.Text)
			}
			assert.Equal(t, tc.exit, exit, text)
		})
	}
}

// Those who do not ask the doctor are told the same.
func TestAClientAndAServerWithoutAProviderLibrarySayWhatToInstall(t *testing.T) {
	addr := bed(t, "SOFT_ROCE_ADDR")
	hidden := inMounts("mount -t tmpfs none /etc/libibverbs.d")
	for _, args := range []string{"-c -a " + addr, "-s"} {
		out, exit := sh(t, hidden+" "+rping(t)+" "+args)
		assert.Equal(t, exitNoDevice, exit, out)
		assert.Contains(t, out, "provider library")
		assert.Contains(t, out, "ibverbs-providers")
	}
}

// The command that the doctor names mends it.
func TestADevicesNodesThatNobodyMayOpenAreMendedByWhatTheDoctorSays(t *testing.T) {
	const plain = "exec setpriv --bounding-set=-dac_override,-dac_read_search"
	bed(t, "SOFT_ROCE_DEVICE")
	modes, exit := sh(t, "stat -c 'chmod %a %n' /dev/infiniband/*")
	require.Zero(t, exit)
	t.Cleanup(func() { must(t, modes) })
	must(t, "chmod 000 /dev/infiniband/uverbs0 /dev/infiniband/rdma_cm")
	for range 2 { // one after the other
		r, text, exit := visit(t, plain)
		require.Equal(t, exitFailure, exit, text)
		f := find(t, r, NoAccess)
		require.Equal(t, Failure, f.Status)
		_, command, found := strings.Cut(f.Do, "as root: ")
		require.True(t, found, f.Do)
		command, _, _ = strings.Cut(command, ";")
		must(t, command)
	}
	_, text, exit := visit(t, plain)
	require.Zero(t, exit, text)
}

func TestAMachineWithoutADeviceGetsOneByTheCommandThatTheDoctorSays(t *testing.T) {
	device, netdev := bed(t, "SOFT_ROCE_DEVICE"), bed(t, "SOFT_ROCE_NETDEV")
	must(t, "rdma link delete "+device)
	r, text, exit := visit(t, "")
	assert.Equal(t, exitNoDevice, exit, text)
	assert.Equal(t, Failure, r.Verdict)
	assert.Contains(t, text, "FAIL device")
	f := find(t, r, NoDevice)
	command := rxeLink(netdev)
	assert.Contains(t, f.Do, command)
	must(t, strings.Replace(command, "rxe0", device, 1))
	for exit = -1; exit != 0; { // until the port is up
		_, text, exit = visit(t, "")
		require.NotEqual(t, exitNoDevice, exit, text)
	}
}

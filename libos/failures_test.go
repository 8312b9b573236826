package libos

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/libos/hello"
	"catmint/rdma"
	"catmint/rdma/sim"
)

const (
	inAddr    = "resolving the address"
	inQP      = "creating the queue pair"
	inRoute   = "resolving the route"
	inConnect = "waiting for the peer's answer"
)

// checkFailure connects and checks what the application is told: the errno, and in words what was
// under way, on which device, why, and what can be done.
func (p *pair) checkFailure(t *testing.T, at netip.AddrPort, want syscall.Errno, phase, detail, hint string) {
	t.Helper()
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, want, got)
	require.Equal(t, phase, ce.Phase)
	if phase == inAddr {
		require.Empty(t, ce.Device, "none was chosen")
	} else {
		require.Equal(t, "sima", ce.Device)
	}
	require.Contains(t, ce.Detail, detail)
	require.NotEmpty(t, ce.Hint)
	require.Contains(t, ce.Hint, hint)
	require.Contains(t, ce.Error(), phase)
	require.NotContains(t, ce.Error(), "\n")
	require.EqualValues(t, 1, p.a.p.Stats().Failures[want])
}

// Every way in which an event of the connection manager, a call or a timer ends a connect.
func TestEveryFailureOfAConnectNamesPhaseDeviceReasonAndWhatToDo(t *testing.T) {
	type fault struct {
		name   string
		arm    func(*sim.Network)
		errno  syscall.Errno
		phase  string
		detail string
		hint   string
	}
	event := func(from, to rdma.CMEvent, status, errno syscall.Errno, phase, hint string) fault {
		detail := ""
		if status != 0 {
			detail = fmt.Sprintf("%s -%d", to, status)
		}
		return fault{fmt.Sprint(to, " ", status), func(n *sim.Network) {
			n.When(sim.Event(from)).Always().Become(to, -int(status))
		}, errno, phase, detail, hint}
	}
	call := func(c sim.CallType, with, errno syscall.Errno, phase, hint string) fault {
		return fault{fmt.Sprint(c, " ", with), func(n *sim.Network) {
			n.When(sim.Call(c)).Always().Fail(with)
		}, errno, phase, with.Error(), hint}
	}
	faults := []fault{
		event(rdma.AddrResolved, rdma.AddrError, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, inAddr, "nobody answers"),
		event(rdma.AddrResolved, rdma.AddrError, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH, inAddr, "nobody answers"),
		event(rdma.AddrResolved, rdma.AddrError, syscall.ENETUNREACH, syscall.ENETUNREACH, inAddr, "ip route get"),
		event(rdma.AddrResolved, rdma.AddrError, syscall.ENODEV, syscall.ENETUNREACH, inAddr, "rdma link"),
		event(rdma.AddrResolved, rdma.AddrError, syscall.EADDRNOTAVAIL, syscall.EADDRNOTAVAIL, inAddr, "ip address"),
		event(rdma.AddrResolved, rdma.AddrError, syscall.EMFILE, syscall.EAGAIN, inAddr, "ulimit -n"),
		event(rdma.AddrResolved, rdma.AddrError, syscall.ENOMEM, syscall.EAGAIN, inAddr, "used up"),
		event(rdma.AddrResolved, rdma.AddrError, syscall.EACCES, syscall.EACCES, inAddr, "--doctor"),
		event(rdma.AddrResolved, rdma.DeviceRemoval, 0, syscall.ENODEV, inAddr, "gone away"),
		event(rdma.RouteResolved, rdma.RouteError, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, inRoute, "nobody answers"),
		event(rdma.RouteResolved, rdma.RouteError, syscall.EINVAL, syscall.EHOSTUNREACH, inRoute, "nobody answers"),
		event(rdma.RouteResolved, rdma.RouteError, syscall.ENODEV, syscall.ENETUNREACH, inRoute, "rdma link"),
		event(rdma.RouteResolved, rdma.DeviceRemoval, 0, syscall.ENODEV, inRoute, "gone away"),
		event(rdma.Established, rdma.Unreachable, syscall.ETIMEDOUT, syscall.ETIMEDOUT, inConnect, "4791"),
		event(rdma.Established, rdma.Unreachable, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH, inConnect, "nobody answers"),
		event(rdma.Established, rdma.ConnectError, syscall.EINVAL, syscall.ECONNRESET, inConnect, "See its log"),
		event(rdma.Established, rdma.ConnectError, syscall.EIO, syscall.ECONNABORTED, inConnect, "dmesg"),
		event(rdma.Established, rdma.ConnectError, syscall.ENOMEM, syscall.EAGAIN, inConnect, "used up"),
		event(rdma.Established, rdma.Disconnected, 0, syscall.ECONNRESET, inConnect, "See its log"),
		event(rdma.Established, rdma.TimewaitExit, 0, syscall.ECONNRESET, inConnect, "See its log"),
		event(rdma.Established, rdma.DeviceRemoval, 0, syscall.ENODEV, inConnect, "gone away"),
		call(sim.CallResolveAddr, syscall.ENETUNREACH, syscall.ENETUNREACH, inAddr, "rdma link"),
		call(sim.CallResolveAddr, syscall.EMFILE, syscall.EAGAIN, inAddr, "ulimit -n"),
		call(sim.CallResolveRoute, syscall.ENODEV, syscall.ENETUNREACH, inRoute, "rdma link"),
		call(sim.CallCreateQP, syscall.ENOMEM, syscall.EAGAIN, inQP, "used up"),
		call(sim.CallConnect, syscall.EINVAL, syscall.EINVAL, inConnect, "--doctor"),
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.RetryDelay = time.Millisecond
			p := newPair(t, cfg, sim.Config{})
			_, at := p.b.listen(t, p.b.addr, 1)
			f.arm(p.net)
			p.checkFailure(t, at, f.errno, f.phase, f.detail, f.hint)
		})
	}
}

// The reasons of the connection manager, RejectStaleConn (tried again) apart.
func TestEveryReasonOfTheConnectionManagerToRejectIsTold(t *testing.T) {
	for reason := rdma.RejectNoQP; reason <= rdma.RejectVendorOptionNotSupported; reason++ {
		errno, hint := syscall.ECONNREFUSED, "see dmesg on both hosts"
		switch reason {
		case rdma.RejectInvalidServiceID:
			hint = "is the server running"
		case rdma.RejectConsumerDefined:
			hint = "check the port"
		case rdma.RejectNoQP, rdma.RejectNoResources:
			hint = "no resources"
		case rdma.RejectTimeout:
			errno, hint = syscall.ETIMEDOUT, "4791"
		case rdma.RejectStaleConn:
			errno, hint = syscall.ECONNRESET, "try again"
		default:
		}
		t.Run(fmt.Sprint(int(reason), " ", reason), func(t *testing.T) {
			p := newPair(t, testConfig(), sim.Config{})
			_, at := p.b.listen(t, p.b.addr, 1)
			p.net.When(sim.Message(sim.REQ)).Always().Reject(reason)
			p.checkFailure(t, at, errno, inConnect, fmt.Sprintf("reason %d (%s)", int(reason), reason), hint)
		})
	}
}

func TestEveryReasonOfAPeerToRefuseIsTold(t *testing.T) {
	const later, version = "takes nobody now", "another version"
	for reason, want := range map[hello.Reason]struct {
		errno syscall.Errno
		hint  string
	}{
		hello.ReasonFull:         {syscall.ECONNREFUSED, later},
		hello.ReasonShuttingDown: {syscall.ECONNREFUSED, later},
		hello.ReasonResources:    {syscall.ECONNREFUSED, later},
		hello.ReasonForeign:      {syscall.EPROTO, version},
		hello.ReasonVersion:      {syscall.EPROTO, version},
		hello.ReasonMalformed:    {syscall.EPROTO, version},
		hello.ReasonDemands:      {syscall.EPROTO, version},
		hello.ReasonProbed:       {syscall.EPROTOTYPE, "no other protocol"},
		99:                       {syscall.ECONNREFUSED, later}, // of a later version
	} {
		t.Run(reason.String(), func(t *testing.T) {
			p := newPair(t, testConfig(), sim.Config{})
			at := foreignServer(t, p.hosts[1], netip.AddrPortFrom(p.b.addr, 5003), func(ev rdma.Event) {
				require.NoError(t, ev.ID.Reject(hello.RejectError{Reason: reason}.Marshal()))
				require.NoError(t, ev.ID.Close())
			})
			p.checkFailure(t, at, want.errno, inConnect, reason.String(), want.hint)
		})
	}
}

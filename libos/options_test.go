package libos

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOptionsAreKeptAndTold(t *testing.T) {
	p := newPlace(t, testConfig())
	s := p.a.socket(t, unix.AF_INET)
	for key := range storedOptions {
		require.NoError(t, s.SetOption(key.level, key.name, nativeBytes(7)))
		v, err := s.GetOption(key.level, key.name)
		require.NoError(t, err)
		require.Equal(t, nativeBytes(7), v)
	}
	for key := range keepOptions {
		require.NoError(t, s.SetOption(key.level, key.name, nativeBytes(7)))
		v, err := s.GetOption(key.level, key.name)
		require.NoError(t, err)
		want := int32(7)
		if key.name == unix.SO_KEEPALIVE && key.level == unix.SOL_SOCKET {
			want = 1
		}
		require.Equal(t, nativeBytes(want), v)
	}
	require.NoError(t, s.SetOption(unix.SOL_SOCKET, unix.SO_REUSEADDR, nativeBytes(1)))
	linger := append(nativeBytes(1), nativeBytes(3)...)
	require.NoError(t, s.SetOption(unix.SOL_SOCKET, unix.SO_LINGER, linger))
	v, err := s.GetOption(unix.SOL_SOCKET, unix.SO_LINGER)
	require.NoError(t, err)
	require.Equal(t, linger, v)

	for name, want := range map[int]int32{
		unix.SO_REUSEADDR: 1, unix.SO_ACCEPTCONN: 0, unix.SO_DOMAIN: unix.AF_INET, unix.SO_TYPE: unix.SOCK_STREAM,
		unix.SO_PROTOCOL: unix.IPPROTO_TCP, unix.SO_ERROR: 0,
	} {
		v, err := s.GetOption(unix.SOL_SOCKET, name)
		require.NoError(t, err)
		require.Equal(t, nativeBytes(want), v)
	}
	l, _ := p.a.listen(t, p.a.addr, 1)
	v, err = l.GetOption(unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	require.NoError(t, err)
	require.Equal(t, nativeBytes(1), v)
}

func TestAnAcceptedSocketBeginsWithItsListenersOptions(t *testing.T) {
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, p.b.addr, 1)
	require.NoError(t, l.SetOption(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, nativeBytes(77)))
	require.NoError(t, l.SetLinger(5*time.Second))
	p.a.connect(t, netip.AddrPort{}, at)
	s := p.b.accept(t, l)
	require.NoError(t, l.SetOption(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, nativeBytes(78)), "the copies are separate")
	v, err := s.GetOption(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	require.NoError(t, err)
	require.Equal(t, nativeBytes(77), v)
	v, err = s.GetOption(unix.SOL_SOCKET, unix.SO_LINGER)
	require.NoError(t, err)
	require.Equal(t, append(nativeBytes(1), nativeBytes(5)...), v)
}

func TestOptionsHaveTheirDefaults(t *testing.T) {
	p := newPlace(t, testConfig())
	s := p.a.socket(t, unix.AF_INET)
	for key, want := range map[optKey]int32{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY}: 1, {unix.SOL_SOCKET, unix.SO_KEEPALIVE}: 1,
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}: 10, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}: 5,
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}: 4, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: 0,
		{unix.SOL_SOCKET, unix.SO_RCVBUF}: 4 * 8192, {unix.SOL_SOCKET, unix.SO_SNDBUF}: 4 * 8192,
		{unix.SOL_SOCKET, unix.SO_REUSEADDR}: 0,
	} {
		v, err := s.GetOption(key.level, key.name)
		require.NoError(t, err)
		require.Equal(t, nativeBytes(want), v)
	}
	v, err := s.GetOption(unix.SOL_SOCKET, unix.SO_LINGER)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 8), v)
}

func TestBadOptionsAreRefused(t *testing.T) {
	p := newPlace(t, testConfig())
	s := p.a.socket(t, unix.AF_INET)
	one := nativeBytes(1)
	require.ErrorIs(t, s.SetOption(unix.IPPROTO_IP, unix.IP_TTL, one), syscall.ENOTSUP)
	_, err := s.GetOption(unix.IPPROTO_IP, unix.IP_TTL)
	require.ErrorIs(t, err, syscall.ENOTSUP)
	require.ErrorIs(t, s.SetOption(unix.SOL_SOCKET, 9999, one), syscall.ENOPROTOOPT)
	require.ErrorIs(t, s.SetOption(unix.SOL_SOCKET, unix.SO_TYPE, one), syscall.ENOPROTOOPT)
	for _, level := range []int{unix.SOL_SOCKET, unix.IPPROTO_TCP} {
		_, err = s.GetOption(level, 9999)
		require.ErrorIs(t, err, syscall.ENOPROTOOPT)
	}
	require.ErrorIs(t, s.SetOption(unix.IPPROTO_TCP, unix.TCP_NODELAY, one[:3]), syscall.EINVAL)
	require.ErrorIs(t, s.SetOption(unix.SOL_SOCKET, unix.SO_LINGER, one), syscall.EINVAL)
	require.ErrorIs(t, s.SetOption(unix.SOL_SOCKET, unix.SO_LINGER, append(one, nativeBytes(-1)...)), syscall.EINVAL)
}

func TestLingerDecidesHowLongCloseWaits(t *testing.T) {
	for _, tc := range []struct {
		name   string
		opts   options
		want   time.Duration
		strict bool
	}{
		{"off", options{}, 2 * time.Second, false},
		{"on", options{lingerOn: true, linger: time.Minute}, time.Minute, true},
		{"on with 0", options{lingerOn: true}, 0, true},
	} {
		d, strict := tc.opts.lingerTime(2 * time.Second)
		require.Equal(t, tc.want, d, tc.name)
		require.Equal(t, tc.strict, strict, tc.name)
	}
}

func TestAPortIsUsedAgainAfterItsSocketIsClosed(t *testing.T) {
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, p.b.addr, 1)
	require.NoError(t, l.Close())
	s := p.b.socket(t, unix.AF_INET)
	require.NoError(t, s.SetOption(unix.SOL_SOCKET, unix.SO_REUSEADDR, nativeBytes(1)))
	require.NoError(t, s.Bind(at))
	require.NoError(t, s.SetLinger(-1))
}

package sockaddr_test

import (
	"bytes"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"catmint/cmd/libdemikernel/sockaddr"
)

// host16 is v as the host stores it; the tests spell addresses out as bytes.
func host16(v uint16) []byte {
	if cpu.IsBigEndian {
		return []byte{byte(v >> 8), byte(v)}
	}
	return []byte{byte(v), byte(v >> 8)}
}

func host32(v uint32) []byte {
	if cpu.IsBigEndian {
		return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	}
	return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}
}

func inet4(port uint16, addr ...byte) []byte {
	b := append(host16(syscall.AF_INET), byte(port>>8), byte(port))
	b = append(b, addr...)
	return append(b, make([]byte, 8)...)
}

func inet6(port uint16, addr netip.Addr, scope uint32) []byte {
	b := append(host16(syscall.AF_INET6), byte(port>>8), byte(port))
	b = append(b, 0, 0, 0, 0)
	b = append(b, addr.AsSlice()...)
	return append(b, host32(scope)...)
}

func TestAnAddressIsReadAndWrittenBack(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"IPv4", inet4(7174, 10, 0, 0, 1), "10.0.0.1:7174"},
		{"the IPv4 wildcard and port 0", inet4(0, 0, 0, 0, 0), "0.0.0.0:0"},
		{"IPv6", inet6(65535, netip.MustParseAddr("2001:db8::1"), 0), "[2001:db8::1]:65535"},
		{"the IPv6 wildcard", inet6(1, netip.IPv6Unspecified(), 0), "[::]:1"},
		{"a link-local address", inet6(80, netip.MustParseAddr("fe80::1"), 3), "[fe80::1%3]:80"},
		{
			"an IPv4-mapped address", inet6(9, netip.MustParseAddr("::ffff:1.2.3.4"), 0),
			"[::ffff:1.2.3.4]:9",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := sockaddr.Parse(c.raw)
			require.NoError(t, err)
			require.Equal(t, netip.MustParseAddrPort(c.want), got)
			back, err := sockaddr.Append(nil, got, nil)
			require.NoError(t, err)
			require.Equal(t, c.raw, back)
		})
	}
}

func TestAMalformedAddressIsEINVAL(t *testing.T) {
	four, six := inet4(1, 1, 2, 3, 4), inet6(1, netip.IPv6Loopback(), 0)
	for name, raw := range map[string][]byte{
		"nothing":                    nil,
		"half a family":              four[:1],
		"a family and no more":       four[:2],
		"IPv4, one byte short":       four[:15],
		"IPv4, one byte too many":    append(bytes.Clone(four), 0),
		"IPv6, the size of IPv4":     six[:16],
		"IPv6, one byte short":       six[:27],
		"IPv6 in a sockaddr_storage": append(bytes.Clone(six), make([]byte, 100)...),
		"AF_UNSPEC":                  make([]byte, 16),
		"AF_UNIX":                    append(host16(syscall.AF_UNIX), make([]byte, 14)...),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sockaddr.Parse(raw)
			require.ErrorIs(t, err, syscall.EINVAL)
		})
	}
}

func TestNoAddressCannotBeWritten(t *testing.T) {
	dst := []byte{1}
	got, err := sockaddr.Append(dst, netip.AddrPort{}, nil)
	require.ErrorIs(t, err, syscall.EINVAL)
	require.Equal(t, []byte{1}, got, "what was there stays")
}

func TestANamedZoneIsLookedUp(t *testing.T) {
	ap := netip.MustParseAddrPort("[fe80::1%eth7]:1")
	raw, err := sockaddr.Append(nil, ap, func(zone string) uint32 {
		require.Equal(t, "eth7", zone)
		return 42
	})
	require.NoError(t, err)
	require.Equal(t, host32(42), raw[24:])

	raw, err = sockaddr.Append(nil, ap, nil)
	require.NoError(t, err)
	require.Equal(t, host32(0), raw[24:], "without a way to look it up the scope is 0")
}

func FuzzWhatIsReadIsWrittenBackTheSame(f *testing.F) {
	f.Add(inet4(1, 1, 2, 3, 4))
	f.Add(inet6(1, netip.IPv6Loopback(), 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		ap, err := sockaddr.Parse(raw)
		if err != nil {
			require.ErrorIs(t, err, syscall.EINVAL)
			return
		}
		back, err := sockaddr.Append(nil, ap, nil)
		require.NoError(t, err)
		again, err := sockaddr.Parse(back)
		require.NoError(t, err)
		require.Equal(t, ap, again)
		require.Len(t, back, len(raw))
	})
}

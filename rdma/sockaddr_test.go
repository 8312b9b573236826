package rdma

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func native16(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }

func TestSockaddrOfIPv4HasPortAndAddressInNetworkOrder(t *testing.T) {
	b, err := encodeSockaddr(netip.MustParseAddrPort("10.1.2.3:4660"))
	require.NoError(t, err)
	want := append(native16(syscall.AF_INET), 0x12, 0x34, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0)
	assert.Equal(t, want, b)
}

func TestSockaddrOfMappedAddressIsIPv4(t *testing.T) {
	b, err := encodeSockaddr(netip.MustParseAddrPort("[::ffff:10.1.2.3]:1"))
	require.NoError(t, err)
	assert.Len(t, b, syscall.SizeofSockaddrInet4)
	assert.Equal(t, "10.1.2.3:1", decodeSockaddr(b).String())
}

func TestSockaddrOfIPv6HasItsScopeInHostOrder(t *testing.T) {
	for zone, scope := range map[string]uint32{"lo": 1, "1": 1, "4711": 4711} {
		b, err := encodeSockaddr(netip.MustParseAddrPort("[fe80::2%" + zone + "]:4660"))
		require.NoError(t, err)
		require.Len(t, b, syscall.SizeofSockaddrInet6)
		assert.Equal(t, native16(syscall.AF_INET6), b[0:2])
		assert.Equal(t, []byte{0x12, 0x34}, b[2:4])
		assert.Zero(t, binary.NativeEndian.Uint32(b[4:]), "no flow information")
		assert.Equal(t, []byte{0xfe, 0x80}, b[8:10])
		assert.Equal(t, byte(2), b[23])
		assert.Equal(t, scope, binary.NativeEndian.Uint32(b[24:]))
	}
}

func TestSockaddrSurvivesThereAndBack(t *testing.T) {
	for _, s := range []string{
		"0.0.0.0:0", "10.1.2.3:65535", "[::]:7174", "[2001:db8::1]:1",
		"[fe80::1%lo]:7", "[fe80::1%4711]:7", "[fe80::1]:7",
	} {
		ap := netip.MustParseAddrPort(s)
		b, err := encodeSockaddr(ap)
		require.NoError(t, err)
		assert.Equal(t, ap, decodeSockaddr(b))
		storage := make([]byte, 128)
		copy(storage, b)
		assert.Equal(t, ap, decodeSockaddr(storage), "in a sockaddr_storage")
	}
}

func TestScopeOfAnAddressThatIsNotLinkLocalIsNoZone(t *testing.T) {
	b, err := encodeSockaddr(netip.MustParseAddrPort("[2001:db8::1%lo]:7"))
	require.NoError(t, err)
	assert.Equal(t, "[2001:db8::1]:7", decodeSockaddr(b).String())
}

func TestAddressesThatCannotBeEncodedAreErrors(t *testing.T) {
	_, err := encodeSockaddr(netip.AddrPort{})
	require.ErrorIs(t, err, syscall.EAFNOSUPPORT)
	for _, zone := range []string{"nosuchdev", "0", "-1", "4294967296"} {
		_, err = encodeSockaddr(netip.MustParseAddrPort("[fe80::1%" + zone + "]:1"))
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, "zone %s", zone)
	}
}

func TestBytesThatAreNoSockaddrAreNoAddress(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":           nil,
		"one byte":        {2},
		"unknown family":  append(native16(syscall.AF_UNIX), make([]byte, 126)...),
		"no family":       make([]byte, 128),
		"truncated IPv4":  append(native16(syscall.AF_INET), make([]byte, 13)...),
		"truncated IPv6":  append(native16(syscall.AF_INET6), make([]byte, 25)...),
		"InfiniBand's 27": append(native16(27), make([]byte, 126)...),
	} {
		assert.Equal(t, netip.AddrPort{}, decodeSockaddr(b), name)
	}
}

func FuzzDecodeSockaddrNeverPanics(f *testing.F) {
	for _, s := range []string{"10.1.2.3:1", "[fe80::1%lo]:7"} {
		b, err := encodeSockaddr(netip.MustParseAddrPort(s))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ap := decodeSockaddr(b)
		if !ap.IsValid() {
			return
		}
		if zone := ap.Addr().Zone(); zone != "" {
			if _, err := strconv.Atoi(zone); err == nil {
				return // a scope without an interface
			}
		}
		again, err := encodeSockaddr(ap)
		require.NoError(t, err)
		want := netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
		require.Equal(t, want, decodeSockaddr(again))
	})
}

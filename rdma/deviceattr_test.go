package rdma

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatIsKnownOfProvidersByTheVendorOfTheDevice(t *testing.T) {
	for name, c := range map[string]struct {
		vendor            uint32
		software, sendOps bool
	}{
		"mlx5, mlx4": {vendorMellanox, false, true},
		"hns":        {vendorHuawei, false, true},
		"rxe":        {vendorRXE, true, true},
		"siw":        {vendorSIW, true, false},
		"irdma":      {0x8086, false, false},
		"bnxt_re":    {0x14e4, false, false},
		"unknown":    {0, false, false},
	} {
		a := DeviceAttr{VendorID: c.vendor}
		assert.Equal(t, c.software, a.Software(), name)
		assert.Equal(t, c.sendOps, a.sendOps(), name)
	}
}

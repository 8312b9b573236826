package rdma_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"catmint/rdma"
	"catmint/rdma/internal/cvalues"
)

// stringOf makes a function from value to name of one of the types.
func stringOf[T interface {
	~int
	fmt.Stringer
}](value int) string {
	return T(value).String()
}

func TestConstantsHaveTheNamesAndValuesOfTheHeaders(t *testing.T) {
	for typeName, c := range map[string]struct {
		header map[string]int
		name   func(int) string
		count  int // of the constants that the Go type has
	}{
		"CMEvent":        {cvalues.CMEvents, stringOf[rdma.CMEvent], 16},
		"WCStatus":       {cvalues.WCStatuses, stringOf[rdma.WCStatus], 24},
		"WCOpcode":       {cvalues.WCOpcodes, stringOf[rdma.WCOpcode], 19},
		"QPState":        {cvalues.QPStates, stringOf[rdma.QPState], 8},
		"AsyncEventType": {cvalues.AsyncEvents, stringOf[rdma.AsyncEventType], 20},
		"PortState":      {cvalues.PortStates, stringOf[rdma.PortState], 6},
		"NodeType":       {cvalues.NodeTypes, stringOf[rdma.NodeType], 8},
		"TransportType":  {cvalues.TransportTypes, stringOf[rdma.TransportType], 6},
		"MTU":            {cvalues.MTUs, stringOf[rdma.MTU], 5},
	} {
		assert.GreaterOrEqual(t, len(c.header), c.count-2, typeName) // old headers lack the newest
		for name, value := range c.header {
			assert.Equal(t, name, c.name(value), "%s %d", typeName, value)
		}
		for _, value := range []int{-2, 4711} {
			assert.Equal(t, fmt.Sprintf("%s(%d)", typeName, value), c.name(value))
		}
	}
}

func TestConstantsAreNamedAfterTheirValues(t *testing.T) {
	// A few of each type by their Go names: the tables above go by value only.
	for _, c := range []struct {
		got  int
		want int
	}{
		{int(rdma.AddrResolved), cvalues.CMEvents["ADDR_RESOLVED"]},
		{int(rdma.ConnectRequest), cvalues.CMEvents["CONNECT_REQUEST"]},
		{int(rdma.TimewaitExit), cvalues.CMEvents["TIMEWAIT_EXIT"]},
		{int(rdma.WCWRFlushErr), cvalues.WCStatuses["WR_FLUSH_ERR"]},
		{int(rdma.WCTMRndvIncomplete), cvalues.WCStatuses["TM_RNDV_INCOMPLETE"]},
		{int(rdma.WCRecv), cvalues.WCOpcodes["RECV"]},
		{int(rdma.WCDriver3), cvalues.WCOpcodes["DRIVER3"]},
		{int(rdma.QPErr), cvalues.QPStates["ERR"]},
		{int(rdma.EventQPLastWQEReached), cvalues.AsyncEvents["QP_LAST_WQE_REACHED"]},
		{int(rdma.EventWQFatal), cvalues.AsyncEvents["WQ_FATAL"]},
		{int(rdma.PortActiveDefer), cvalues.PortStates["ACTIVE_DEFER"]},
		{int(rdma.NodeRNIC), cvalues.NodeTypes["RNIC"]},
		{int(rdma.TransportIWARP), cvalues.TransportTypes["IWARP"]},
		{int(rdma.LinkLayerUnspecified), cvalues.LinkLayers["UNSPECIFIED"]},
		{int(rdma.LinkLayerInfiniBand), cvalues.LinkLayers["INFINIBAND"]},
		{int(rdma.LinkLayerEthernet), cvalues.LinkLayers["ETHERNET"]},
		{int(rdma.MTU4096), cvalues.MTUs["4096"]},
		{int(rdma.GIDTypeIB), cvalues.GIDTypes["IB"]},
		{int(rdma.GIDTypeRoCEv1), cvalues.GIDTypes["ROCE_V1"]},
		{int(rdma.GIDTypeRoCEv2), cvalues.GIDTypes["ROCE_V2"]},
		{int(rdma.AccessLocalWrite), cvalues.AccessFlags["LOCAL_WRITE"]},
		{int(rdma.AccessRemoteWrite), cvalues.AccessFlags["REMOTE_WRITE"]},
		{int(rdma.AccessRemoteRead), cvalues.AccessFlags["REMOTE_READ"]},
		{int(rdma.AccessRemoteAtomic), cvalues.AccessFlags["REMOTE_ATOMIC"]},
		{int(rdma.AccessMWBind), cvalues.AccessFlags["MW_BIND"]},
		{int(rdma.AccessZeroBased), cvalues.AccessFlags["ZERO_BASED"]},
		{int(rdma.AccessOnDemand), cvalues.AccessFlags["ON_DEMAND"]},
		{int(rdma.AccessHugeTLB), cvalues.AccessFlags["HUGETLB"]},
		{int(rdma.AccessRelaxedOrdering), cvalues.AccessFlags["RELAXED_ORDERING"]},
	} {
		assert.Equal(t, c.want, c.got)
	}
	// The specification's numbers; no header of user space has them.
	assert.EqualValues(t, 8, rdma.RejectInvalidServiceID)
	assert.EqualValues(t, 10, rdma.RejectStaleConn)
	assert.EqualValues(t, 28, rdma.RejectConsumerDefined)
	assert.EqualValues(t, 35, rdma.RejectVendorOptionNotSupported)
}

func TestNamesReadWell(t *testing.T) {
	assert.Equal(t, "invalid service ID", rdma.RejectInvalidServiceID.String())
	assert.Equal(t, "RejectReason(34)", rdma.RejectReason(34).String())
	assert.Equal(t, "RejectReason(0)", rdma.RejectReason(0).String())
	assert.Equal(t, "RoCE v2", rdma.GIDTypeRoCEv2.String())
	assert.Equal(t, "Ethernet", rdma.LinkLayerEthernet.String())
	assert.Equal(t, "UNKNOWN", rdma.NodeUnknown.String())
	assert.Equal(t, "UNKNOWN", rdma.TransportUnknown.String())
	assert.Equal(t, "0011:22ff:fe33:4455", rdma.GUID(0x001122fffe334455).String())
	assert.Equal(t, 1024, rdma.MTU1024.Bytes())
	assert.Zero(t, rdma.MTU(0).Bytes())
	assert.Zero(t, rdma.MTU(6).Bytes())
}

func TestGIDIsAnAddress(t *testing.T) {
	v4 := rdma.GID{Raw: [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 77, 14: 0, 15: 1}}
	assert.Equal(t, "10.77.0.1", v4.Addr().String())
	assert.Equal(t, "0000:0000:0000:0000:0000:ffff:0a4d:0001", v4.String())
	v6 := rdma.GID{Raw: [16]byte{0: 0xfe, 1: 0x80, 15: 1}}
	assert.Equal(t, "fe80::1", v6.Addr().String())
}

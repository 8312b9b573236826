package rdma_test

import (
	"strings"
	"testing"

	"catmint/datapath/ctest"
)

// runOnMadeUp runs a program of testdata with the shims that it is about. The functions of the
// libraries that wrap names are the program's own.
func runOnMadeUp(t *testing.T, program, wrap string) {
	t.Helper()
	t.Parallel()
	p := ctest.Program{
		Sources: []string{
			"rdma/testdata/" + program, "rdma/verbs_shim.c", "rdma/cm_shim.c", "rdma/taken_shim.c", "rdma/slowops.c",
		},
		Includes: []string{"rdma"},
		Libs:     []string{"-libverbs", "-lrdmacm"},
	}
	for _, f := range strings.Fields(wrap) {
		p.Libs = append(p.Libs, "-Wl,--wrap="+f)
	}
	ctest.Run(t, p, ctest.Address)
}

func TestQueuePairsAreMadeAsProvidersAllow(t *testing.T) {
	runOnMadeUp(t, "qp_test.c", "ibv_create_qp rdma_create_qp_ex ibv_qp_to_qp_ex ibv_modify_qp ibv_destroy_qp")
}

func TestATakenQueuePairIsMovedAsLibrdmacmWould(t *testing.T) {
	runOnMadeUp(t, "taken_test.c", "rdma_init_qp_attr ibv_modify_qp ibv_destroy_qp rdma_establish rdma_connect"+
		" rdma_accept rdma_disconnect rdma_destroy_id rdma_get_cm_event rdma_ack_cm_event")
}

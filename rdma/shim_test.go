package rdma_test

import (
	"strings"
	"testing"

	"catmint/datapath/ctest"
)

func TestQueuePairsAreMadeAsProvidersAllow(t *testing.T) {
	t.Parallel()
	p := ctest.Program{
		Sources:  []string{"rdma/testdata/qp_test.c", "rdma/verbs_shim.c", "rdma/slowops.c"},
		Includes: []string{"rdma"},
		Libs:     []string{"-libverbs", "-lrdmacm"},
	}
	for _, f := range strings.Fields("ibv_create_qp rdma_create_qp_ex ibv_qp_to_qp_ex ibv_modify_qp ibv_destroy_qp") {
		p.Libs = append(p.Libs, "-Wl,--wrap="+f)
	}
	ctest.Run(t, p, ctest.Address)
}

package rdma_test

import (
	"testing"

	"catmint/rdma/rdmatest"
)

func TestMain(m *testing.M) { rdmatest.Main(m) }

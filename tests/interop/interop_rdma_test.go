//go:build rdma

package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRpingDemiAndRpingUnderstandEachOther(t *testing.T) {
	b := bed{demi: "../../build/rping-demi", stock: "rping"}
	b.addrs[0], b.addrs[1] = os.Getenv("SOFT_ROCE_ADDR"), os.Getenv("SOFT_ROCE_ADDR6")
	require.NotEmpty(t, b.addrs[0], "run by soft-roce test")
	require.FileExists(t, b.demi, "run make build before")
	assert.Zero(t, runAll(t.Context(), &b, scenarios(testing.Short()), "", os.Stdout), "scenarios failed")
}

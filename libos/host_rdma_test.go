//go:build rdma || rdma2

package libos

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// env returns a variable that the test bed sets.
func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmpty(t, value, "%s is not set: run with soft-roce test", name)
	return value
}

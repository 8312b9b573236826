package qemu

import (
	"os"
	"testing"

	"catmint/soft-roce/internal/fake"
)

func TestMain(m *testing.M) {
	fake.Main()
	os.Exit(m.Run())
}

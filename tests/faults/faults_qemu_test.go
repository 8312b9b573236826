//go:build qemu

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/testbed"
)

// TestGuestsSurviveFaults commits the faults that take little time. Folder of the agent: the hosts see
// this machine's files, except what lies in /run and /dev/shm.
func TestGuestsSurviveFaults(t *testing.T) {
	l := lab{agent: filepath.Join(t.TempDir(), "agent")}
	build := exec.Command("go", "build", "-o", l.agent, "./agent")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	require.NoError(t, build.Run())
	var err error
	l.bed, err = testbed.Start(t.Context(), testbed.Config{Hosts: 2})
	require.NoError(t, err)
	defer l.bed.Close()
	require.NoError(t, l.prepare(t.Context()))
	assert.Zero(t, runAll(t.Context(), &l, faults(testing.Short()), regexp.MustCompile(""), os.Stdout), "faults failed")
}

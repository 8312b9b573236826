package pair

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// half runs a test of this binary as the half on host, and returns what it prints.
func half(t *testing.T, test, host, addr, peer string) (string, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PAIR_HALF=1",
		"SOFT_ROCE_HOST="+host, "SOFT_ROCE_ADDR="+addr, "SOFT_ROCE_PEER="+peer)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// halves runs both halves of a test on two loopback addresses.
func halves(t *testing.T, test string) (outputs [2]string, errs [2]error) {
	t.Helper()
	addrs := [2]string{"127.77.0.1", "127.77.0.2"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		outputs[1], errs[1] = half(t, test, "b", addrs[1], addrs[0])
	}()
	outputs[0], errs[0] = half(t, test, "a", addrs[0], addrs[1])
	<-done
	return outputs, errs
}

// inHalf tells whether this process is one of the halves.
func inHalf() bool { return os.Getenv("PAIR_HALF") != "" }

func TestHalvesMeetAndTalk(t *testing.T) {
	if !inHalf() {
		outputs, errs := halves(t, t.Name())
		require.NoError(t, errs[0], outputs[0])
		require.NoError(t, errs[1], outputs[1])
		return
	}
	p := Join(t)
	p.Barrier("one")
	if p.Host == "a" {
		p.Send("a word\nof two lines")
		assert.Empty(t, p.Receive())
	} else {
		assert.Equal(t, "a word\nof two lines", p.Receive())
		p.Send("")
	}
	p.Barrier("two")
}

func TestAHalfWhoseOtherHalfFailsFailsToo(t *testing.T) {
	if !inHalf() {
		outputs, errs := halves(t, t.Name())
		require.Error(t, errs[0])
		require.Error(t, errs[1])
		assert.Contains(t, outputs[0], "the other half says nothing (has it failed?)")
		return
	}
	p := Join(t)
	if p.Host == "b" {
		t.Fatal("on purpose")
	}
	p.Barrier("never reached by b")
}

func TestHalvesAtDifferentBarriersFail(t *testing.T) {
	if !inHalf() {
		outputs, errs := halves(t, t.Name())
		require.Error(t, errs[0])
		require.Error(t, errs[1])
		assert.Contains(t, outputs[1], `at barrier "of b", while the other half is at "of a"`)
		return
	}
	p := Join(t)
	p.Barrier("of " + p.Host)
}

func TestOneHostIsNoPair(t *testing.T) {
	if !inHalf() {
		output, err := half(t, t.Name(), "", "", "")
		require.Error(t, err)
		assert.Contains(t, output, "soft-roce test --hosts 2")
		return
	}
	Join(t)
}

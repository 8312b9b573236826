//go:build rdma

package connect

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath/ctest"
	"catmint/libos/hello"
)

// contestant is a kind of process: who makes, or takes, the connections.
type contestant struct {
	name string
	bare bool
	c    bool // a C program on libdemikernel
	env  []string
}

var (
	bareCM  = contestant{name: "rdma_cm", bare: true}
	plain   = contestant{name: "libos"}
	pooling = contestant{name: "libos, pool", env: []string{"DEMI_QP_POOL=4"}}
	library = contestant{name: "libdemikernel", c: true}
)

// process is a running contestant.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
	port  string // where a server listens
	steps bool   // tells of its steps when all is over
}

// programs are the contestants that are in C.
type programs struct{ bare, demi string }

func build(tb testing.TB) programs {
	tb.Helper()
	lib := filepath.Join(ctest.Root(tb), "build")
	require.FileExists(tb, filepath.Join(lib, "libdemikernel.so"), "run `make build` first")
	program := func(source string, libs ...string) string {
		return ctest.Build(tb, ctest.Program{Sources: []string{"tests/bench/connect/testdata/" + source}, Libs: libs}, "-O2")
	}
	return programs{
		bare: program("bare.c", "-lrdmacm", "-libverbs"),
		demi: program("demi.c", "-L"+lib, "-ldemikernel", "-Wl,-rpath,"+lib),
	}
}

func privateData(tb testing.TB, kind hello.Kind) string {
	tb.Helper()
	h := hello.Hello{
		Kind: kind, MinVersion: hello.MinVersion, MaxVersion: hello.MaxVersion,
		RecvSize: 8192, DataWindow: 4, CtrlWindow: 4, MaxMessage: hello.MaxMaxMessage, Nonce: 1,
	}
	return hex.EncodeToString(h.Marshal())
}

// start runs a contestant in a role, connect or serve, under the given command if there is one.
func start(tb testing.TB, in programs, c contestant, role string, under ...string) *process {
	tb.Helper()
	addr := os.Getenv("SOFT_ROCE_ADDR")
	require.NotEmpty(tb, addr, "run by soft-roce test")
	self, err := os.Executable()
	require.NoError(tb, err)
	args := append(under, self)
	if c.bare {
		kind := hello.Offer
		if role == "serve" {
			kind = hello.Answer
		}
		args = append(under, in.bare, role, addr, privateData(tb, kind))
	}
	if c.c {
		args = append(under, in.demi, role, addr)
	}
	p := &process{steps: !c.bare && !c.c, cmd: exec.CommandContext(tb.Context(), args[0], args[1:]...)}
	p.cmd.Env = append(append(os.Environ(), roleEnv+"="+role), c.env...)
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(tb, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(tb, err)
	p.out = bufio.NewScanner(stdout)
	require.NoError(tb, p.cmd.Start())
	tb.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	if role == "serve" {
		p.port = strings.TrimPrefix(p.line(tb), "port ")
	}
	return p
}

func (p *process) line(tb testing.TB) string {
	tb.Helper()
	require.True(tb, p.out.Scan(), "%v has ended: %v", p.cmd.Args, p.out.Err())
	return p.out.Text()
}

// figures reads one line, "up" or "down", into f.
func (p *process) figures(tb testing.TB, what string, f figures) {
	tb.Helper()
	words := strings.Fields(p.line(tb))
	require.NotEmpty(tb, words)
	require.Equal(tb, what, words[0])
	for i := 1; i+1 < len(words); i += 2 {
		n, err := strconv.ParseFloat(words[i+1], 64)
		require.NoError(tb, err)
		f[words[i]] = n
	}
}

// cycle makes one connection from client to server and waits until both have released it.
func cycleOf(tb testing.TB, client, server *process) (active, passive figures) {
	tb.Helper()
	active, passive = figures{}, figures{}
	_, err := fmt.Fprintf(client.stdin, "c %s\n", server.port)
	require.NoError(tb, err)
	client.figures(tb, "up", active)
	server.figures(tb, "up", passive)
	_, err = fmt.Fprintln(client.stdin, "d")
	require.NoError(tb, err)
	client.figures(tb, "down", active)
	server.figures(tb, "down", passive)
	if client.steps {
		client.figures(tb, "steps", active)
	}
	if server.steps {
		server.figures(tb, "steps", passive)
	}
	return active, passive
}

// traced runs a contestant under strace; cycles ends it and reads the trace.
func traced(tb testing.TB, in programs, c contestant, role string) (p *process, cycles func() []cycle) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "trace")
	p = start(tb, in, c, role, "strace", "-f", "-y", "-s", "16", "-o", file)
	return p, func() []cycle {
		require.NoError(tb, p.stdin.Close())
		require.NoError(tb, p.cmd.Wait())
		f, err := os.Open(file)
		require.NoError(tb, err)
		defer func() { _ = f.Close() }()
		out, err := readTrace(f)
		require.NoError(tb, err)
		return out
	}
}

package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFramesArriveAsTheyWereSent(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	require.NoError(t, w.Send(TypeHello, 0, nil))
	require.NoError(t, w.Send(TypeStdout, 7, []byte("text")))
	require.NoError(t, w.SendJSON(TypeExit, 7, Exit{Code: 3}))

	f, err := ReadFrame(&b)
	require.NoError(t, err)
	assert.Equal(t, Frame{Type: TypeHello}, f)
	f, err = ReadFrame(&b)
	require.NoError(t, err)
	assert.Equal(t, Frame{Type: TypeStdout, Stream: 7, Payload: []byte("text")}, f)
	f, err = ReadFrame(&b)
	require.NoError(t, err)
	var e Exit
	require.NoError(t, f.Decode(&e))
	assert.Equal(t, Exit{Code: 3}, e)
	_, err = ReadFrame(&b)
	assert.Equal(t, io.EOF, err, "between frames the end is just the end")
}

func TestHeaderIsLittleEndian(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, NewWriter(&b).Send(TypeStderr, 0x01020304, []byte("ab")))
	assert.Equal(t, []byte{byte(TypeStderr), 0, 0, 0, 4, 3, 2, 1, 2, 0, 0, 0, 'a', 'b'}, b.Bytes())
}

func TestBrokenStreamsAreErrors(t *testing.T) {
	var whole bytes.Buffer
	require.NoError(t, NewWriter(&whole).Send(TypeStdout, 1, []byte("payload")))
	for n := 1; n < whole.Len(); n++ {
		_, err := ReadFrame(bytes.NewReader(whole.Bytes()[:n]))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut after %d bytes", n)
	}
	long := []byte{byte(TypeStdout), 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f}
	_, err := ReadFrame(bytes.NewReader(long))
	require.ErrorIs(t, err, ErrTooLong)
	rubbish := bytes.Repeat([]byte{1}, 12)
	_, err = ReadFrame(bytes.NewReader(rubbish))
	require.ErrorIs(t, err, ErrBadHeader)
	require.ErrorIs(t, NewWriter(io.Discard).Send(TypeExec, 1, make([]byte, MaxPayload+1)), ErrTooLong)
	var e Exec
	require.Error(t, Frame{Type: TypeExec, Payload: []byte("{")}.Decode(&e))
	require.Error(t, NewWriter(io.Discard).SendJSON(TypeExec, 1, func() {}))
}

func TestStreamCutsLongOutput(t *testing.T) {
	var b bytes.Buffer
	text := strings.Repeat("0123456789", ChunkSize/4)
	n, err := NewWriter(&b).Stream(TypeStdout, 2).Write([]byte(text))
	require.NoError(t, err)
	assert.Equal(t, len(text), n)
	var got bytes.Buffer
	for b.Len() > 0 {
		f, err := ReadFrame(&b)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(f.Payload), ChunkSize)
		got.Write(f.Payload)
	}
	assert.Equal(t, text, got.String())
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestStreamReportsABrokenConnection(t *testing.T) {
	_, err := NewWriter(brokenWriter{}).Stream(TypeStdout, 2).Write([]byte("x"))
	require.Error(t, err)
}

func TestConcurrentFramesDoNotMix(t *testing.T) {
	r, w := io.Pipe()
	out := NewWriter(w)
	const senders, each = 8, 100
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			payload := bytes.Repeat([]byte{byte(s)}, 100)
			for range each {
				if out.Send(TypeStdout, uint32(s), payload) != nil {
					return
				}
			}
		})
	}
	go func() {
		wg.Wait()
		_ = w.Close()
	}()
	count := 0
	for {
		f, err := ReadFrame(r)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		count++
		assert.Equal(t, bytes.Repeat([]byte{byte(f.Stream)}, 100), f.Payload)
	}
	assert.Equal(t, senders*each, count)
}

func TestExitStatusFollowsTheShell(t *testing.T) {
	for name, c := range map[string]struct {
		exit Exit
		want int
	}{
		"success":         {Exit{}, 0},
		"exit status":     {Exit{Code: 77}, 77},
		"signal":          {Exit{Signal: 9}, 137},
		"no such program": {Exit{Error: "x", NotFound: true}, 127},
		"cannot be run":   {Exit{Error: "x"}, 126},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, c.exit.Status())
		})
	}
}

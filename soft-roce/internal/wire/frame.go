package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Type says what a frame means.
type Type uint8

// Frame types. Hello, Ready, Failed, Stdout, Stderr, Exit and Log travel from the guest to the
// host, the others from the host to the guest.
const (
	TypeHello    Type = 1 + iota // guest is alive: empty payload
	TypeBoot                     // Boot: how to set the guest up
	TypeReady                    // Ready: the Soft-RoCE device can be used
	TypeFailed                   // text: set-up failed; the guest powers off
	TypeExec                     // Exec: run a command under the frame's stream number
	TypeStdin                    // bytes for the command's standard input; empty means end of file
	TypeSignal                   // Signal: deliver to the command's process group
	TypeStdout                   // bytes of the command's standard output
	TypeStderr                   // bytes of the command's standard error
	TypeExit                     // Exit: the command is over and its output is complete
	TypeResize                   // WindowSize: the user's terminal has changed
	TypePowerOff                 // empty: power off now
)

// MaxPayload is the largest payload in bytes that ReadFrame accepts. Argument lists and
// environments travel in one frame, so it is the kernel's limit for both with room to spare.
const MaxPayload = 8 << 20

// ChunkSize is the largest piece in bytes in which output and input are cut.
const ChunkSize = 32 << 10

const headerSize = 12

// ErrTooLong reports a frame whose payload exceeds MaxPayload: the peer is confused or not ours.
var ErrTooLong = errors.New("wire: frame too long")

// ErrBadHeader reports a header whose reserved bytes are not zero.
var ErrBadHeader = errors.New("wire: bad frame header")

// Frame is one message.
type Frame struct {
	Type    Type
	Stream  uint32
	Payload []byte
}

// Decode unmarshals a JSON payload into v.
func (f Frame) Decode(v any) error {
	if err := json.Unmarshal(f.Payload, v); err != nil {
		return fmt.Errorf("wire: payload of frame type %d: %w", f.Type, err)
	}
	return nil
}

// ReadFrame reads the next frame from r. It returns io.EOF only between frames.
func ReadFrame(r io.Reader) (Frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	if h[1]|h[2]|h[3] != 0 {
		return Frame{}, ErrBadHeader
	}
	n := binary.LittleEndian.Uint32(h[8:])
	if n > MaxPayload {
		return Frame{}, ErrTooLong
	}
	f := Frame{Type: Type(h[0]), Stream: binary.LittleEndian.Uint32(h[4:])}
	if n == 0 {
		return f, nil
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}

// Writer sends frames. Its methods may be called from any goroutine; frames are never interleaved.
type Writer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewWriter returns a Writer that sends to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send writes one frame.
func (w *Writer) Send(t Type, stream uint32, payload []byte) error {
	if len(payload) > MaxPayload {
		return ErrTooLong
	}
	buf := make([]byte, headerSize+len(payload))
	buf[0] = byte(t)
	binary.LittleEndian.PutUint32(buf[4:], stream)
	binary.LittleEndian.PutUint32(buf[8:], uint32(len(payload)))
	copy(buf[headerSize:], payload)
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.w.Write(buf)
	return err
}

// SendJSON writes one frame whose payload is v as JSON.
func (w *Writer) SendJSON(t Type, stream uint32, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Send(t, stream, payload)
}

// Stream returns an io.Writer that cuts what it is given into frames of type t.
func (w *Writer) Stream(t Type, stream uint32) io.Writer {
	return &streamWriter{w: w, t: t, stream: stream}
}

type streamWriter struct {
	w      *Writer
	t      Type
	stream uint32
}

func (s *streamWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, ChunkSize)
		if err := s.w.Send(s.t, s.stream, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

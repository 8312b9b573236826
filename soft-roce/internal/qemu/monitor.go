package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// monitorTimeout bounds one exchange with QEMU's monitor.
const monitorTimeout = 10 * time.Second

// Monitor speaks QMP, QEMU's machine protocol: JSON objects, one a line; a greeting, then
// {"execute": ...} answered by {"return": ...} or {"error": ...}, with events in between.
// Its methods may be called from any goroutine.
type Monitor struct {
	mu    sync.Mutex
	conn  net.Conn
	lines *bufio.Reader
	ready bool // capabilities are negotiated
}

func newMonitor(conn net.Conn) *Monitor {
	return &Monitor{conn: conn, lines: bufio.NewReader(conn)}
}

// MonitorError is QEMU's refusal of a command.
type MonitorError struct {
	Command string
	Class   string
	Desc    string
}

func (e *MonitorError) Error() string {
	return fmt.Sprintf("qemu monitor: %s: %s (%s)", e.Command, e.Desc, e.Class)
}

// Execute runs a command and unmarshals what it returns into result, unless that is nil.
func (m *Monitor) Execute(command string, arguments, result any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.conn.SetDeadline(time.Now().Add(monitorTimeout)); err != nil {
		return fmt.Errorf("qemu monitor: %w", err)
	}
	if !m.ready {
		// The greeting has no answer in it; exchange skips it.
		if err := m.exchange("qmp_capabilities", nil, nil); err != nil {
			return err
		}
		m.ready = true
	}
	return m.exchange(command, arguments, result)
}

func (m *Monitor) exchange(command string, arguments, result any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := m.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("qemu monitor: %s: %w", command, err)
	}
	for {
		line, err := m.lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("qemu monitor: %s: %w", command, err)
		}
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Class string `json:"class"`
				Desc  string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("qemu monitor: %s: %w", command, err)
		}
		switch {
		case answer.Error != nil:
			return &MonitorError{command, answer.Error.Class, answer.Error.Desc}
		case answer.Return == nil:
			continue // the greeting or an event
		case result != nil:
			return json.Unmarshal(answer.Return, result)
		default:
			return nil
		}
	}
}

// SetLink plugs the network cable in or out.
func (m *Monitor) SetLink(up bool) error {
	return m.Execute("set_link", map[string]any{"name": netID, "up": up}, nil)
}

// Pause stops the guest's CPUs; Resume lets them go on. To its peer a paused guest is one that
// does not answer any more.
func (m *Monitor) Pause() error { return m.Execute("stop", nil, nil) }

// Resume lets a paused guest go on.
func (m *Monitor) Resume() error { return m.Execute("cont", nil, nil) }

// Break sends a break on the serial console, which makes the kernel take the next key as a magic
// system request.
func (m *Monitor) Break() error {
	return m.Execute("chardev-send-break", map[string]any{"id": "console"}, nil)
}

// Close ends the conversation.
func (m *Monitor) Close() { _ = m.conn.Close() }

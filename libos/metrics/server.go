package metrics

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"catmint/internal/background"
)

// The limits of a server. A scraper asks once in some seconds.
const (
	maxRequest = 16 << 10 // bytes, headers included
	maxConns   = 16       // at the same time; more wait
	timeLimit  = 10 * time.Second
	acceptRest = 100 * time.Millisecond // after an accept that failed, for want of descriptors
)

// Handler answers a path; false for one that it does not know.
type Handler func(path string) (families []Family, ok bool)

// Server answers GET requests with metrics, each on a connection of its own. All methods of a
// nil Server may be called: it serves nothing.
type Server struct {
	lis    *net.TCPListener
	handle Handler
	forget func()
	slots  chan struct{}
	quit   chan struct{}
	work   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Listen begins to serve at HOST:PORT. inherit is told the listening descriptor, so that a
// forked child can close it, and returns what is called before the descriptor is closed; nil
// for nobody. Close the Server after use.
func Listen(addr string, handle Handler, inherit func(fd int) (forget func())) (*Server, error) {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{
		lis: lis.(*net.TCPListener), handle: handle, forget: func() {}, slots: make(chan struct{}, maxConns),
		quit: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	if inherit != nil {
		raw, err := s.lis.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { s.forget = inherit(int(fd)) })
		}
		if err != nil {
			_ = s.lis.Close()
			return nil, err
		}
	}
	background.Join(&s.work, "metrics server", s.run)
	return s, nil
}

// Addr is where the server listens, nil if it is nil.
func (s *Server) Addr() net.Addr {
	if s == nil {
		return nil
	}
	return s.lis.Addr()
}

// Close ends the server and cuts the requests under way. A second Close does nothing.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	select {
	case <-s.quit:
		s.mu.Unlock()
		return nil
	default:
	}
	close(s.quit)
	s.forget()
	err := s.lis.Close()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
	return err
}

func (s *Server) run() {
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.quit:
			return
		}
		c, err := s.lis.Accept()
		if err != nil {
			<-s.slots
			select {
			case <-s.quit:
				return
			case <-time.After(acceptRest):
				continue
			}
		}
		s.mu.Lock()
		select {
		case <-s.quit:
			s.mu.Unlock()
			_ = c.Close()
			return
		default:
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		background.Join(&s.work, "metrics request", func() {
			defer func() {
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				_ = c.Close()
				<-s.slots
				_ = recover() // whatever is wrong with the numbers, the program goes on
			}()
			s.serve(c)
		})
	}
}

// serve answers one request. What goes wrong is the client's affair.
func (s *Server) serve(c net.Conn) {
	if c.SetDeadline(time.Now().Add(timeLimit)) != nil {
		return
	}
	method, path, ok := readRequest(c)
	switch {
	case !ok:
		answer(c, method, "400 Bad Request", "text/plain", []byte("this is not an HTTP request\n"))
		return
	case method != "GET" && method != "HEAD":
		answer(c, method, "405 Method Not Allowed\r\nAllow: GET, HEAD", "text/plain", []byte("only GET and HEAD\n"))
		return
	}
	path, _, _ = strings.Cut(path, "?")
	families, found := s.handle(path)
	if !found {
		answer(c, method, "404 Not Found", "text/plain", []byte("not here: try /metrics\n"))
		return
	}
	answer(c, method, "200 OK", contentType, Text(families))
}

// readRequest reads a request of HTTP/1.0 or 1.1 up to its body, which is left alone.
func readRequest(c io.Reader) (method, path string, ok bool) {
	r := textproto.NewReader(bufio.NewReader(io.LimitReader(c, maxRequest)))
	line, err := r.ReadLine()
	if err != nil {
		return "", "", false
	}
	word := strings.Split(line, " ")
	if len(word) != 3 || word[0] == "" || !strings.HasPrefix(word[1], "/") || !strings.HasPrefix(word[2], "HTTP/1.") {
		return "", "", false
	}
	if _, err := r.ReadMIMEHeader(); err != nil {
		return "", "", false
	}
	return word[0], word[1], true
}

func answer(c io.Writer, method, status, contentType string, body []byte) {
	head := fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		status, contentType, len(body))
	if method == "HEAD" {
		body = nil
	}
	_, _ = c.Write(append([]byte(head), body...))
}

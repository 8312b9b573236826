package libos

import (
	"encoding/binary"
	"maps"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are a socket's, in the terms of socket(7) and tcp(7).
type options struct {
	lingerOn  bool
	linger    time.Duration
	reuseAddr bool
	keep      keepAlive
	ints      map[optKey]int32 // what has been set of storedOptions
}

type optKey struct{ level, name int }

// storedOptions are kept and told, with these values to begin with. Messages leave at
// once, so TCP_NODELAY is on; buffer sizes are the windows' business.
var storedOptions = map[optKey]int32{
	{unix.SOL_SOCKET, unix.SO_SNDBUF}:                 0,
	{unix.SOL_SOCKET, unix.SO_RCVBUF}:                 0,
	{unix.SOL_SOCKET, unix.SO_REUSEPORT}:              0,
	{unix.SOL_SOCKET, unix.SO_PRIORITY}:               0,
	{unix.IPPROTO_TCP, unix.TCP_NODELAY}:              1,
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK}:             1,
	{unix.IPPROTO_TCP, unix.TCP_CORK}:                 0,
	{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT}:        -1,
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT}:               6,
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT}:         0,
	{unix.IPPROTO_TCP, unix.TCP_LINGER2}:              0,
	{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP}:         0,
	{unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS}: 0,
}

func (e *Engine) defaultOptions() options { return options{keep: newKeepAlive(e.cfg.KeepAlive)} }

// stored is the value of one of storedOptions.
func (s *Socket) stored(key optKey) (int32, bool) {
	if v, ok := s.opts.ints[key]; ok {
		return v, true
	}
	v, ok := storedOptions[key]
	if ok && v == 0 && (key.name == unix.SO_SNDBUF || key.name == unix.SO_RCVBUF) && key.level == unix.SOL_SOCKET {
		v = int32(s.e.cfg.RecvSize * s.e.cfg.DataWindow)
	}
	return v, ok
}

// lingerTime is how long a close waits, and whether that bounds the whole close (SO_LINGER)
// or only a time without progress (the default). 0 is an abort.
func (o *options) lingerTime(def time.Duration) (d time.Duration, strict bool) {
	if !o.lingerOn {
		return def, false
	}
	return o.linger, true
}

// SetLinger sets SO_LINGER: how long Close waits for the peer; 0 cuts the connection at
// once. A negative time turns it off, which means the default: Config.Linger without the
// peer taking anything.
func (s *Socket) SetLinger(d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.alive(); err != nil {
		return err
	}
	s.opts.lingerOn, s.opts.linger = d >= 0, max(d, 0)
	return nil
}

// inherited are the options that an accepted socket begins with: its listener's.
func (s *Socket) inherited() options {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.opts
	o.ints = maps.Clone(o.ints)
	return o
}

// alive is EBADF after close or a failed connect. s.mu is held.
func (s *Socket) alive() error {
	if s.state == sockFailed || s.state == sockClosing {
		return syscall.EBADF
	}
	return nil
}

func checkLevel(level int) error {
	if level != unix.SOL_SOCKET && level != unix.IPPROTO_TCP {
		return syscall.ENOTSUP
	}
	return nil
}

// SetOption sets an option as setsockopt(2) does, value in the host's byte order. ENOTSUP:
// a level other than SOL_SOCKET and IPPROTO_TCP; ENOPROTOOPT: an unknown name, or one that
// can only be read; EINVAL: a length or a value that is wrong.
func (s *Socket) SetOption(level, name int, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.alive(); err != nil {
		return err
	}
	if err := checkLevel(level); err != nil {
		return err
	}
	if level == unix.SOL_SOCKET && name == unix.SO_LINGER {
		if len(value) < 8 {
			return syscall.EINVAL
		}
		on, sec := nativeInt(value), nativeInt(value[4:])
		if on != 0 && sec < 0 {
			return syscall.EINVAL
		}
		s.opts.lingerOn, s.opts.linger = on != 0, time.Duration(sec)*time.Second
		return nil
	}
	key := optKey{level, name}
	_, stored := storedOptions[key]
	reuse := key == optKey{unix.SOL_SOCKET, unix.SO_REUSEADDR}
	keep := keepOptions[key]
	if !stored && !reuse && keep.set == nil {
		return syscall.ENOPROTOOPT
	}
	if len(value) < 4 {
		return syscall.EINVAL
	}
	v := nativeInt(value)
	if keep.set != nil {
		if v < keep.low || v > keep.high {
			return syscall.EINVAL
		}
		keep.set(&s.opts.keep, v)
		s.keepAliveChanged()
		return nil
	}
	if reuse {
		s.opts.reuseAddr = v != 0
		return nil
	}
	if s.opts.ints == nil {
		s.opts.ints = map[optKey]int32{}
	}
	s.opts.ints[key] = v
	return nil
}

// GetOption reads an option as getsockopt(2) does. Errors are those of SetOption.
func (s *Socket) GetOption(level, name int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.alive(); err != nil {
		return nil, err
	}
	if err := checkLevel(level); err != nil {
		return nil, err
	}
	key := optKey{level, name}
	if keep, ok := keepOptions[key]; ok {
		return nativeBytes(keep.get(&s.opts.keep)), nil
	}
	if v, ok := s.stored(key); ok {
		return nativeBytes(v), nil
	}
	if level != unix.SOL_SOCKET {
		return nil, syscall.ENOPROTOOPT
	}
	switch name {
	case unix.SO_LINGER:
		return append(nativeBytes(boolInt(s.opts.lingerOn)), nativeBytes(int32(s.opts.linger/time.Second))...), nil
	case unix.SO_REUSEADDR:
		return nativeBytes(boolInt(s.opts.reuseAddr)), nil
	case unix.SO_ACCEPTCONN:
		return nativeBytes(boolInt(s.state == sockListening)), nil
	case unix.SO_DOMAIN:
		return nativeBytes(int32(s.domain)), nil
	case unix.SO_TYPE:
		return nativeBytes(int32(s.typ)), nil
	case unix.SO_PROTOCOL:
		return nativeBytes(unix.IPPROTO_TCP), nil
	case unix.SO_ERROR:
		return nativeBytes(0), nil // errors come with tokens
	}
	return nil, syscall.ENOPROTOOPT
}

func nativeInt(b []byte) int32 { return int32(binary.NativeEndian.Uint32(b)) }

func nativeBytes(v int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }

func boolInt(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

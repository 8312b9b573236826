package libos

import (
	"sync"

	"catmint/rdma"
)

// qpPool holds halves of connections that have been made ahead, so that a connect or an accept
// need not wait for one: Config.QPPool of them for each device and port on which there has been a
// connection or a listener. Each is used once; workers make new ones, after the connection that
// used one is established, so as not to compete with it.
//
// The lock is never held while something blocks: the loop takes it.
type qpPool struct {
	e    *Engine
	size int

	mu     sync.Mutex
	places map[poolPlace]*poolShelf
	closed bool
}

// poolPlace is where a queue pair may be used.
type poolPlace struct {
	dev  rdma.Device
	port int
}

// poolShelf is what there is for one place.
type poolShelf struct {
	ready   []*half
	filling bool // a worker is at it
}

// take returns a half that is ready for a place, nil if there is none.
func (p *qpPool) take(dev rdma.Device, port int) *half {
	if p.size == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.places[poolPlace{dev, port}]
	if s == nil || len(s.ready) == 0 {
		return nil
	}
	last := len(s.ready) - 1
	h := s.ready[last]
	s.ready = s.ready[:last]
	return h
}

// refill has a worker make what is missing for a place. It does not block.
func (p *qpPool) refill(dev rdma.Device, port int) {
	if p.size == 0 || dev == nil || port == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	place := poolPlace{dev, port}
	s := p.places[place]
	if s == nil {
		s = &poolShelf{}
		p.places[place] = s
	}
	if s.filling || len(s.ready) >= p.size {
		return
	}
	s.filling = true
	p.e.workers.run(func() { p.fill(place, s) })
}

// fill makes halves until there are enough or one cannot be made: then the next connection
// makes its own, and asks again.
func (p *qpPool) fill(place poolPlace, s *poolShelf) {
	for {
		h, err := p.e.newHalf(place.dev, place.port, nil)
		if err != nil {
			p.e.log.Debug("queue pair pool", "device", place.dev.Name(), "err", err)
		}
		p.mu.Lock()
		wanted := h != nil && !p.closed && p.places[place] == s
		if wanted {
			s.ready = append(s.ready, h)
		}
		more := wanted && len(s.ready) < p.size
		if !more {
			s.filling = false
			if len(s.ready) == 0 && p.places[place] == s {
				delete(p.places, place) // the device may be gone for good
			}
		}
		p.mu.Unlock()
		if h != nil && !wanted {
			h.destroy()
		}
		if !more {
			return
		}
	}
}

// drop releases what there is for a device, which has been removed.
func (p *qpPool) drop(dev rdma.Device) {
	p.release(false, func(place poolPlace) bool { return place.dev == dev })
}

// close releases everything; nothing is made any more.
func (p *qpPool) close() { p.release(true, func(poolPlace) bool { return true }) }

func (p *qpPool) release(closing bool, which func(poolPlace) bool) {
	p.mu.Lock()
	p.closed = p.closed || closing
	var unused []*half
	for place, s := range p.places {
		if which(place) {
			unused = append(unused, s.ready...)
			delete(p.places, place)
		}
	}
	p.mu.Unlock()
	for _, h := range unused {
		h.destroy()
	}
}

package model

import (
	"errors"
	"fmt"
	"strings"

	"catmint/datapath/internal/cwire"
)

// ErrLimit says that there are more states than Config.Limit.
var ErrLimit = errors.New("more states than the limit")

// Result says how much was explored.
type Result struct {
	States int // distinct states, mirror images counted once
	Steps  int // steps tried out between them
	Quiet  int // states in which nothing happens unless an application acts
	Depth  int // steps of the longest shortest way to a state

	// Frames sent in one step or another, by type; a type that is missing was never sent.
	Sent map[cwire.Type]int
}

// ViolationError is a property broken, with the shortest way there.
type ViolationError struct {
	Property error
	Trace    []Step
	State    State
}

// Error tells the property, the way and the state.
func (v *ViolationError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\nafter %d steps:\n", v.Property, len(v.Trace))
	for _, st := range v.Trace {
		fmt.Fprintf(&b, "  %v\n", st)
	}
	b.WriteString(v.State.String())
	return b.String()
}

// Unwrap returns the property.
func (v *ViolationError) Unwrap() error { return v.Property }

// origin is how a state was first reached.
type origin struct {
	parent uint32
	step   uint8 // action, and the side in bit 7
	mirror bool  // the state is stored with its sides exchanged
}

// explorer is one run of Explore.
type explorer struct {
	c         *Config
	symmetric bool
	seen      *table
	from      []origin
	result    Result
	key, alt  []byte
}

// Explore visits every state that c allows, breadth first, and checks every property. The
// error is a *ViolationError, ErrLimit, or what is wrong with c.
func Explore(c Config) (Result, error) {
	s, err := newState(&c)
	if err != nil {
		return Result{}, err
	}
	x := &explorer{
		c: &c, seen: newTable(), symmetric: c.symmetric(),
		result: Result{Sent: make(map[cwire.Type]int)},
	}
	x.insert(&s, origin{})
	depth, endOfLevel := 0, x.seen.len()
	for n := 0; n < x.seen.len(); n++ {
		if n == endOfLevel {
			depth, endOfLevel = depth+1, x.seen.len()
		}
		if err := x.expand(n); err != nil {
			return x.result, err
		}
		if c.Limit > 0 && x.seen.len() > c.Limit {
			return x.result, ErrLimit
		}
	}
	x.result.States, x.result.Depth = x.seen.len(), depth
	return x.result, nil
}

// symmetric tells whether the two sides may do the same, so that mirror images are one.
func (c *Config) symmetric() bool {
	data, ctrl := c.windows(0)
	otherData, otherCtrl := c.windows(1)
	return c.Mode == Free && data == otherData && ctrl == otherCtrl &&
		c.Pushes[0] == c.Pushes[1] && c.Sizes[0] == c.Sizes[1] &&
		c.Closes[0] == c.Closes[1] && c.Pings[0] == c.Pings[1] && c.Grows[0] == c.Grows[1] &&
		c.Doubles[0] == c.Doubles[1]
}

// insert stores s unless it is known.
func (x *explorer) insert(s *State, o origin) {
	x.key = s.encode(x.key[:0], 0)
	key := x.key
	if x.symmetric {
		x.alt = s.encode(x.alt[:0], 1)
		if string(x.alt) < string(key) {
			key, o.mirror = x.alt, true
		}
	}
	if _, isNew := x.seen.add(key); isNew {
		x.from = append(x.from, o)
	}
}

// expand tries every step in state n.
func (x *explorer) expand(n int) error {
	s := x.c.decode(x.seen.key(n))
	views := [2]cwire.View{s.E[0].Flow.View(s.E[0].nPending > 0), s.E[1].Flow.View(s.E[1].nPending > 0)}
	rank, quiet := s.rank(), true
	for a := range numActions {
		for side := range 2 {
			st := Step{side, a}
			t := s
			ok, sent, err := x.c.try(&t, st, &views)
			if !ok {
				continue
			}
			x.result.Steps++
			if sent != 0 {
				x.result.Sent[sent]++
			}
			if err == nil {
				err = x.c.checkShape(&t)
			}
			if a.engine() {
				quiet = false
			}
			if err == nil && (a.engine() || a == Pop) && t.rank() >= rank {
				err = fmt.Errorf("%v does not bring the end nearer: exchanges without an end are possible", st)
			}
			if err == nil && sent != 0 {
				err = x.c.checkSent(&s, side, sent)
			}
			if err == nil && x.c.Prompt {
				err = x.flush(&t, side)
			}
			if err != nil {
				return &ViolationError{Property: err, Trace: append(x.trace(n), st), State: t}
			}
			x.insert(&t, origin{parent: uint32(n), step: uint8(a) | uint8(side)<<7})
		}
	}
	if quiet {
		x.result.Quiet++
		if err := x.c.checkQuiet(&s, &views); err != nil {
			return &ViolationError{Property: err, Trace: x.trace(n), State: s}
		}
	}
	return nil
}

// flush lets a prompt engine send all that it may, DATA first.
func (x *explorer) flush(s *State, i int) error {
	for {
		var views [2]cwire.View
		views[i] = s.E[i].Flow.View(s.E[i].nPending > 0)
		before := *s
		ok, sent, err := x.c.try(s, Step{i, SendData}, &views)
		if !ok {
			ok, sent, err = x.c.try(s, Step{i, SendCtrl}, &views)
		}
		if !ok || err != nil {
			return err
		}
		x.result.Sent[sent]++
		if err := x.c.checkShape(s); err != nil {
			return err
		}
		if s.rank() >= before.rank() {
			return fmt.Errorf("%v does not bring the end nearer: exchanges without an end are possible", sent)
		}
		if err := x.c.checkSent(&before, i, sent); err != nil {
			return err
		}
	}
}

// Cycle looks for steps of engines and channels alone that lead from v's state back to a state
// met on the way: an exchange without an end. It returns nil if there is none.
func (c Config) Cycle(s State) []Step {
	var path []Step
	onPath := map[string]int{} // state to its place on the path
	done := map[string]bool{}
	var visit func(State) []Step
	visit = func(s State) []Step {
		key := string(s.encode(nil, 0))
		if at, ok := onPath[key]; ok {
			return path[at:]
		}
		if done[key] {
			return nil
		}
		onPath[key] = len(path)
		s = c.decode([]byte(key))
		views := [2]cwire.View{s.E[0].Flow.View(s.E[0].nPending > 0), s.E[1].Flow.View(s.E[1].nPending > 0)}
		for a := SendData; a < numActions; a++ {
			for side := range 2 {
				t := s
				if ok, _, err := c.try(&t, Step{side, a}, &views); !ok || err != nil {
					continue
				}
				path = append(path, Step{side, a})
				if cycle := visit(t); cycle != nil {
					return cycle
				}
				path = path[:len(path)-1]
			}
		}
		delete(onPath, key)
		done[key] = true
		return nil
	}
	return visit(s)
}

// trace is the way by which state n was first reached. With mirror images taken as one, the
// sides are named as they are in state n.
func (x *explorer) trace(n int) []Step {
	var steps []Step
	swapped := 0
	for n != 0 {
		o := x.from[n]
		if o.mirror {
			swapped ^= 1
		}
		steps = append(steps, Step{int(o.step>>7) ^ swapped, Action(o.step & 0x7F)})
		n = int(o.parent)
	}
	for i, j := 0, len(steps)-1; i < j; i, j = i+1, j-1 {
		steps[i], steps[j] = steps[j], steps[i]
	}
	return steps
}

// checkSent checks the economy of bare CREDITs in the patterns of traffic that promise it;
// s is the state before.
func (c *Config) checkSent(s *State, i int, t cwire.Type) error {
	if t != cwire.Credit {
		return nil
	}
	f := &s.E[i].Flow
	plain := c.Closes == [2]CloseKind{} && c.Grows == [2]int{} && c.Pings == [2]bool{} &&
		c.Sizes == [2]Sizes{}
	oneWay := plain && (c.Pushes[0] == 0) != (c.Pushes[1] == 0)
	switch {
	case c.Mode == PingPong && c.DataWindow > 2:
		return errors.New("a bare CREDIT in ping-pong")
	case oneWay && c.Pushes[i] > 0:
		return errors.New("the sender of one-way traffic sends a bare CREDIT")
	case oneWay && f.DataOwed < cwire.DataDueFor(f.DataWindow):
		return errors.New("more than one bare CREDIT for half a window")
	}
	return nil
}

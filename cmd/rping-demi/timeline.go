package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"catmint/libos"
	"catmint/libos/connfsm"
)

// span is a phase of a connection, from the end of the one before to its own.
type span struct {
	name     string
	letter   byte // for many connections, one row each
	from, to time.Time
}

// pingTimes are those of a connection's first ping; zero if there was none.
type pingTimes struct{ sent, back time.Time }

// spans are the phases that a connection went through, in the order of time. why is the end
// of one that failed at end, "" otherwise.
func spans(i libos.Info, ping pingTimes, why string, end time.Time) []span {
	p := i.Phases
	posted, sent := "receives posted", "connect sent"
	if p.QPCreated.IsZero() {
		posted = "QP ready" // made and filled by its owner
	}
	if p.RouteResolved.IsZero() && p.AddrResolved.IsZero() && len(i.Retries) == 0 && why == "" {
		sent = "accept sent"
	}
	out := []span{
		{name: "address resolved", letter: 'a', to: p.AddrResolved},
		{name: "QP created", letter: 'q', to: p.QPCreated},
		{name: posted, letter: 'p', to: p.QPReady},
		{name: "route resolved", letter: 'r', to: p.RouteResolved},
		{name: sent, letter: 's', to: p.Sent},
		{name: "established", letter: 'e', to: p.Established},
		{name: "data plane ready", letter: 'd', to: p.Ready},
	}
	for _, r := range i.Retries {
		out = append(out, span{name: fmt.Sprintf("retry: %s (%s)", r.Phase, r.Detail), letter: '!', to: r.At})
	}
	if why != "" {
		out = append(out, span{name: "failed: " + why, letter: 'x', to: end})
	}
	out = slices.DeleteFunc(out, func(s span) bool { return s.to.IsZero() })
	slices.SortStableFunc(out, func(a, b span) int { return a.to.Compare(b.to) })
	from := p.Started
	for n := range out {
		out[n].from, from = from, out[n].to
	}
	if !ping.back.IsZero() {
		out = append(out, span{"first ping back", '=', ping.sent, ping.back})
	}
	return out
}

// timelineWidth is how many characters stand for the whole time.
const timelineWidth = 50

// place is the columns of a span on an axis of timelineWidth columns: at least one.
func place(s span, begin, end time.Time) (first, last int) {
	whole := max(end.Sub(begin), 1)
	at := func(t time.Time) int { return int(int64(timelineWidth) * int64(t.Sub(begin)) / int64(whole)) }
	first = min(at(s.from), timelineWidth-1)
	return first, max(at(s.to), first+1)
}

// waterfall draws one connection, a line a phase.
func waterfall(w io.Writer, all []span, begin time.Time) {
	if len(all) == 0 {
		return
	}
	end := all[len(all)-1].to
	for _, s := range all {
		first, last := place(s, begin, end)
		bar := strings.Repeat(" ", first) + strings.Repeat("#", last-first) + strings.Repeat(" ", timelineWidth-last)
		fmt.Fprintf(w, "  at %10s  +%10s  |%s|  %s\n", micros(s.from.Sub(begin)), micros(s.to.Sub(s.from)), bar, s.name)
	}
}

// rows draws several connections on one axis, a line each.
func rows(w io.Writer, conns [][]span, begins []time.Time) {
	begin, end := begins[0], begins[0]
	for i, all := range conns {
		if begins[i].Before(begin) {
			begin = begins[i]
		}
		if len(all) > 0 && all[len(all)-1].to.After(end) {
			end = all[len(all)-1].to
		}
	}
	seen := map[byte]string{}
	for i, all := range conns {
		line := []byte(strings.Repeat(" ", timelineWidth))
		for _, s := range all {
			first, last := place(s, begin, end)
			for c := first; c < last; c++ {
				if line[c] == ' ' { // a short phase stays visible
					line[c] = s.letter
				}
			}
			name, _, _ := strings.Cut(s.name, ":")
			seen[s.letter] = name
		}
		fmt.Fprintf(w, "  %4d  at %10s  |%s|  %s\n", i+1, micros(begins[i].Sub(begin)), line, micros(setUp(all, begins[i])))
	}
	var legend []string
	for _, letter := range []byte("aqprsed=!x") {
		if name, ok := seen[letter]; ok {
			legend = append(legend, fmt.Sprintf("%c %s", letter, name))
		}
	}
	fmt.Fprintf(w, "  until: %s; the axis is %s long, the time on the right is that to connect\n",
		strings.Join(legend, ", "), micros(end.Sub(begin)))
}

// setUp is how long a connection took until it could be used.
func setUp(all []span, begin time.Time) time.Duration {
	var d time.Duration
	for _, s := range all {
		if s.letter != '=' {
			d = max(d, s.to.Sub(begin))
		}
	}
	return d
}

// timelineReport is a timeline for scripts: one line of JSON. Times are in microseconds since
// the connect began.
type timelineReport struct {
	Mode       mode          `json:"mode"`
	Connection int           `json:"connection"` // from 1
	Local      string        `json:"local,omitempty"`
	Remote     string        `json:"remote,omitempty"`
	Device     string        `json:"device,omitempty"`
	Connected  float64       `json:"connected_microseconds"` // 0 if it was not
	Retries    int           `json:"retries"`
	Phases     []phaseReport `json:"phases"`
}

type phaseReport struct {
	Name  string  `json:"name"`
	Begin float64 `json:"begin"`
	End   float64 `json:"end"`
}

const modeTimeline mode = "timeline" // in reports

// drawn is a connection to be drawn.
type drawn struct {
	info libos.Info
	ping pingTimes
	why  string // it failed
	end  time.Time
}

// drawTimeline draws connections, if it was asked for.
func (t *task) drawTimeline(conns ...drawn) error {
	if !t.opts.timeline || len(conns) == 0 {
		return nil
	}
	var all [][]span
	var begins []time.Time
	for _, c := range conns {
		all = append(all, spans(c.info, c.ping, c.why, c.end))
		begins = append(begins, c.info.Phases.Started)
	}
	var b strings.Builder
	switch {
	case t.opts.json:
		for i, c := range conns {
			if err := encodeTimeline(&b, i+1, c, all[i]); err != nil {
				return err
			}
		}
	case len(conns) == 1:
		fmt.Fprintf(&b, "timeline of the connection with %s:\n", conns[0].info.Remote)
		waterfall(&b, all[0], begins[0])
	default:
		fmt.Fprintf(&b, "timeline of %d connections with %s:\n", len(conns), conns[0].info.Remote)
		rows(&b, all, begins)
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

// drawFailed draws a connect that failed with err, as far as it came.
func (t *task) drawFailed(err error) error {
	var ce *libos.ConnectError
	if !errors.As(err, &ce) || ce.Info.Phases.Started.IsZero() {
		return nil
	}
	return t.drawTimeline(drawn{info: ce.Info, why: connfsm.ErrnoName(ce.Err), end: time.Now()})
}

func encodeTimeline(w io.Writer, n int, c drawn, all []span) error {
	begin := c.info.Phases.Started
	r := timelineReport{
		Mode: modeTimeline, Connection: n, Remote: c.info.Remote.String(), Device: c.info.Device,
		Retries: len(c.info.Retries), Phases: []phaseReport{},
	}
	if c.info.Local.IsValid() {
		r.Local = c.info.Local.String()
	}
	if !c.info.Phases.Established.IsZero() {
		r.Connected = us(setUp(all, begin))
	}
	for _, s := range all {
		r.Phases = append(r.Phases, phaseReport{s.name, us(s.from.Sub(begin)), us(s.to.Sub(begin))})
	}
	return json.NewEncoder(w).Encode(r)
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"catmint/tests/faults/report"
)

// outcome is what a fault has led to.
type outcome struct {
	tokens []tally
	lost   string // of what was acknowledged
	left   string // of resources
	note   string // what else there is to know
}

// tally counts the tokens of a kind on a host that ended in one way.
type tally struct {
	host, kind, errno string
	n                 int
	last, bound       time.Duration // after the fault
}

// allowed says with which errnos tokens of a kind may end, and in what time.
type allowed struct {
	errnos   []string
	bound    time.Duration
	optional bool // there may be none of them
}

// judge waits until the given connections have ended on a side, and the given connects; each token
// must have ended as is allowed to its kind.
func (o *outcome) judge(ctx context.Context, s *side, from int, at time.Time, conns, connects []string, rules map[string]allowed) error {
	longest := time.Duration(0)
	for _, r := range rules {
		longest = max(longest, r.bound)
	}
	longest += slack
	ctx, cancel := context.WithDeadlineCause(ctx, at.Add(longest), fmt.Errorf("tokens are outstanding %v after the fault", longest))
	defer cancel()
	for _, conn := range conns {
		if _, err := s.await(ctx, conn+" has ended", from, of(report.Ended, conn)); err != nil {
			return err
		}
		if _, err := s.await(ctx, conn+" is closed", from, of(report.Closed, conn)); err != nil {
			return err
		}
	}
	for _, name := range connects {
		if _, err := s.await(ctx, "connect "+name+" has ended", from, ended(report.KindConnect, name)); err != nil {
			return err
		}
	}
	return o.add(s.node, s.since(from), at, rules)
}

// add counts the ends of tokens among events; each must be as is allowed.
func (o *outcome) add(n *node, events []event, at time.Time, rules map[string]allowed) error {
	type key struct{ kind, errno string }
	found := map[key]*tally{}
	for _, ev := range events {
		if ev.Ev != report.Token || ev.Kind == report.KindClose && ev.Errno == "" {
			continue
		}
		after := max(0, ev.at.Sub(at))
		rule, ok := rules[ev.Kind]
		if !ok || !slices.Contains(rule.errnos, ev.Errno) {
			return n.fail(fmt.Errorf("%s of %q ended with %q (%s) after %v, not with one of %q",
				ev.Kind, ev.Conn, ev.Errno, ev.Why, after, rule.errnos))
		}
		if after > rule.bound+slack {
			return n.fail(fmt.Errorf("%s of %q ended with %s after %v, not within %v", ev.Kind, ev.Conn, ev.Errno, after, rule.bound))
		}
		k := key{ev.Kind, ev.Errno}
		if found[k] == nil {
			found[k] = &tally{host: n.host.Name, kind: ev.Kind, errno: ev.Errno, bound: rule.bound}
		}
		found[k].n++
		found[k].last = max(found[k].last, after)
	}
	for kind, rule := range rules {
		if !rule.optional && !slices.ContainsFunc(slices.Collect(maps.Keys(found)), func(k key) bool { return k.kind == kind }) {
			return n.fail(fmt.Errorf("no token of %s has ended: none was outstanding", kind))
		}
	}
	for _, t := range found {
		o.tokens = append(o.tokens, *t)
	}
	o.sort()
	return nil
}

// well counts the tokens of connections that have ended as they should.
func (o *outcome) well(n *node, from int, at time.Time, bound time.Duration) {
	for _, ev := range n.since(from) {
		if ev.Ev != report.Ended {
			continue
		}
		for kind, count := range ev.Done {
			i := slices.IndexFunc(o.tokens, func(t tally) bool { return t.host == n.host.Name && t.kind == kind && t.errno == "" })
			if i < 0 {
				i = len(o.tokens)
				o.tokens = append(o.tokens, tally{host: n.host.Name, kind: kind, bound: bound})
			}
			o.tokens[i].n += count
			o.tokens[i].last = max(o.tokens[i].last, ev.at.Sub(at))
		}
	}
	o.sort()
}

func (o *outcome) sort() {
	slices.SortFunc(o.tokens, func(a, b tally) int {
		return cmp.Or(strings.Compare(a.host, b.host), strings.Compare(a.errno, b.errno), cmp.Compare(a.bound, b.bound), strings.Compare(a.kind, b.kind))
	})
}

// acknowledged says what a side had acknowledged on the connections that have broken, and how much
// more it had pushed.
func acknowledged(s *side, from int) (acked, unacked uint64) {
	for _, ev := range s.since(from) {
		if ev.Ev == report.Ended {
			acked, unacked = acked+ev.Acked, unacked+ev.Sent-ev.Acked
		}
	}
	return acked, unacked
}

// row is a line of the table: tokens of one host that ended in the same way.
type row struct{ host, tokens, returned, in, bound string }

func (o *outcome) rows() []row {
	var out []row
	for i := 0; i < len(o.tokens); {
		t := o.tokens[i]
		var kinds []string
		for ; i < len(o.tokens); i++ {
			u := o.tokens[i]
			if u.host != t.host || u.errno != t.errno || u.bound != t.bound {
				break
			}
			kinds = append(kinds, fmt.Sprintf("%d %s", u.n, u.kind))
			t.last = max(t.last, u.last)
		}
		if t.errno == "" {
			t.errno = "success"
		}
		bound := ""
		if t.bound != 0 {
			bound = fmt.Sprintf("%g s", t.bound.Seconds())
		}
		out = append(out, row{
			t.host, strings.Join(kinds, ", "), t.errno, fmt.Sprintf("%.1f s", t.last.Seconds()), bound,
		})
	}
	return out
}

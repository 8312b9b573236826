package connect

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

var (
	// cmtimeColumn is a heading of cmtime's table: rdma-core 44 prints "total ms" and
	// "us / conn", later ones "us/conn" and "sum(us)".
	cmtimeColumn = regexp.MustCompile(`us ?/ ?conn|(?:total|sum|max|min) ?\(?(?:ms|us)\)?`)
	cmtimeStep   = regexp.MustCompile(`^([a-z][a-z _-]*?)\s*:\s*([\d.\s]+)$`)
)

// readCMTime reads what a client of cmtime prints: the time per connection of each step, in
// nanoseconds.
func readCMTime(r io.Reader) (figures, error) {
	out, at := figures{}, -1
	for in := bufio.NewScanner(r); in.Scan(); {
		line := strings.TrimSpace(in.Text())
		if strings.HasPrefix(line, "step") {
			for i, c := range cmtimeColumn.FindAllString(line, -1) {
				if strings.HasSuffix(c, "conn") {
					at = i
				}
			}
			continue
		}
		m := cmtimeStep.FindStringSubmatch(line)
		if m == nil || at < 0 {
			continue
		}
		columns := strings.Fields(m[2])
		if at >= len(columns) {
			return nil, fmt.Errorf("cmtime: no time per connection in %q", line)
		}
		us, err := strconv.ParseFloat(columns[at], 64)
		if err != nil {
			return nil, fmt.Errorf("cmtime: %q: %w", line, err)
		}
		out[m[1]] = us * 1e3
	}
	if _, ok := out["connect"]; !ok {
		return nil, fmt.Errorf("cmtime: no table of steps, or none with a step %q", "connect")
	}
	return out, nil
}

// sum is the whole of some steps.
func (f figures) sum(steps ...string) (ns float64) {
	for _, s := range steps {
		ns += f[s]
	}
	return ns
}

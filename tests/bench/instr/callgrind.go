package instr

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// profile is a dump of callgrind's: instructions executed in each function itself.
type profile struct {
	total     uint64
	functions map[string]uint64
}

// names are callgrind's abbreviations: "(7) name" defines, "(7)" refers.
type names map[string]string

func (n names) resolve(s string) string {
	id, name, defines := strings.Cut(s, " ")
	if defines {
		n[id] = name
	}
	return n[id]
}

// parseProfile reads one dump. Its format is described in Valgrind's manual, "Callgrind
// Format Specification": a line of costs belongs to the function named last, unless it
// follows "calls=", and is then what the callees cost.
func parseProfile(r io.Reader) (*profile, error) {
	p := &profile{functions: map[string]uint64{}}
	functions := names{}
	var function string
	var inclusive bool
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		line := scan.Text()
		key, value, _ := strings.Cut(line, "=")
		switch {
		case key == "fn":
			function = functions.resolve(value)
		case key == "cfn":
			functions.resolve(value)
		case key == "calls":
			inclusive = true
		case line != "" && strings.ContainsAny(line[:1], "0123456789+-*"):
			if inclusive {
				inclusive = false
				continue
			}
			_, cost, _ := strings.Cut(line, " ")
			n, err := strconv.ParseUint(cost, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("callgrind's dump: %w", err)
			}
			p.functions[function] += n
			p.total += n
		}
	}
	return p, scan.Err()
}

package libos

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// varPrefix is what the names of envVars begin with. Demikernel reads no variable whose name does.
const varPrefix = "DEMI_"

// WarnUnknownVariables writes a line to w for each variable of environ, as os.Environ has it, that
// is named as those that ConfigFromEnv reads and is none of them, nor of others: a misspelt one, or a
// program's own, so that it is no error. The line names the one that may have been meant.
func WarnUnknownVariables(w io.Writer, environ []string, others ...string) {
	known := slices.Clone(others)
	for _, v := range envVars {
		known = append(known, v.name)
	}
	var unknown []string
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, varPrefix) && value != "" && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range slices.Compact(unknown) {
		hint := "rping-demi --help-env lists those there are"
		if near := nearest(name, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		fmt.Fprintf(w, "catmint: unknown variable %q is ignored: %s\n", name, hint)
	}
}

// nearest is the one of known that may have been meant by name, "" if none is near: a slip or two of
// the keyboard away, one in a short name, or with its last word, such as the unit, left out.
func nearest(name string, known []string) string {
	best, least := "", len(name)
	name = strings.ToUpper(name)
	for _, k := range known {
		n := slips(name, k)
		near := n <= max(1, min(2, (len(k)-len(varPrefix))/3)) || strings.HasPrefix(k, name+"_")
		if near && n < least {
			best, least = k, n
		}
	}
	return best
}

// slips is how many bytes are to be inserted, removed, replaced or exchanged with their neighbours
// to make b of a.
func slips(a, b string) int {
	// Rows of the distances between beginnings of a and all those of b: the last two and the next.
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := row[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			next[j] = min(row[j]+1, next[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

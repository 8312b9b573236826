package connect

import (
	"fmt"
	"slices"
)

// spread is what a row of figures comes to: its quartiles.
type spread struct{ low, median, high float64 }

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	return spread{quantile(v, 0.25), quantile(v, 0.5), quantile(v, 0.75)}
}

// quantile of sorted values, between the two nearest.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (v[i+1]-v[i])*(at-float64(i))
}

// ratios divides figures of the same round.
func ratios(a, b []float64) []float64 {
	out := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		out = append(out, a[i]/b[i])
	}
	return out
}

// verdict says how a ratio compares with a goal. What lies on both sides of it is not resolved:
// then counts decide.
func (s spread) verdict(goal float64) string {
	switch {
	case s.high <= goal:
		return fmt.Sprintf("at most %.2f", goal)
	case s.low > goal:
		return fmt.Sprintf("above %.2f", goal)
	default:
		return "not resolved"
	}
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f to %.2f)", s.median, s.low, s.high) }

// figures are times in nanoseconds, by the name of the step.
type figures map[string]float64

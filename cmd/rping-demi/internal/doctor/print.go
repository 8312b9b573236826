package doctor

import (
	"encoding/json"
	"fmt"
	"io"
)

var marks = map[Status]string{OK: "ok", Note: "note", Warning: "WARN", Failure: "FAIL"}

// Print writes a report for people: one line a finding, the verdict last.
func (r Report) Print(w io.Writer) {
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%-5s%-8s %s", marks[f.Status], f.Check, f.Text)
		if f.Do != "" {
			fmt.Fprintf(w, " -> %s", f.Do)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s\n", r.Summary)
}

// PrintJSON writes a report as one line of JSON.
func (r Report) PrintJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // commands have && in them
	return e.Encode(r)
}

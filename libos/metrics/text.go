package metrics

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Type is the type of a family's samples.
type Type string

// The types.
const (
	Counter Type = "counter" // never falls, save that it begins anew; its name ends in _total
	Gauge   Type = "gauge"
)

// Family is a metric with its samples, which differ in the values of their labels.
type Family struct {
	Name    string // of letters, digits and _
	Help    string
	Type    Type
	Samples []Sample
}

// Sample is a value, whose labels tell it from others.
type Sample struct {
	Labels []Label
	Value  uint64
}

// Label is a dimension of a metric.
type Label struct{ Name, Value string }

// Add adds a sample; labels are names and values in turn.
func (f *Family) Add(value uint64, labels ...string) {
	s := Sample{Value: value}
	for i := 0; i+1 < len(labels); i += 2 {
		s.Labels = append(s.Labels, Label{labels[i], labels[i+1]})
	}
	f.Samples = append(f.Samples, s)
}

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// contentType is that of the text format, version 0.0.4.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// Text is families in Prometheus's text format (version 0.0.4). Those without samples are
// left out.
func Text(families []Family) []byte {
	var b bytes.Buffer
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.Name, helpEscapes.Replace(f.Help), f.Name, f.Type)
		for _, s := range f.Samples {
			b.WriteString(f.Name)
			for i, l := range s.Labels {
				b.WriteByte("{,"[min(i, 1)])
				fmt.Fprintf(&b, `%s="%s"`, l.Name, valueEscapes.Replace(strings.ToValidUTF8(l.Value, "?")))
			}
			if len(s.Labels) > 0 {
				b.WriteByte('}')
			}
			b.WriteByte(' ')
			b.WriteString(strconv.FormatUint(s.Value, 10))
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

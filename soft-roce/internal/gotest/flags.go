package gotest

import (
	"fmt"
	"strings"
	"time"
)

// Options choose what of a package's tests is run, and how. The zero value runs each test that
// needs the tag.
type Options struct {
	Run     string        // regular expression, as -run of go test; "" is the tests with the tag
	Bench   string        // regular expression, as -bench of go test
	Short   bool          // -short
	Verbose bool          // -v
	Count   int           // -count; 0 is 1
	Timeout time.Duration // of each package, 0 for none
	Args    []string      // passed on to the tests
}

// Args returns the arguments of a package's test binary.
func (o Options) arguments(pkg Package) []string {
	args := []string{"-test.paniconexit0", "-test.timeout=" + o.Timeout.String()}
	switch {
	case o.Run != "":
		args = append(args, "-test.run="+o.Run)
	case o.Bench != "":
		args = append(args, "-test.run=^$")
	default:
		// The others do not need this place and have been run elsewhere, faster.
		args = append(args, "-test.run=^("+strings.Join(pkg.Tests, "|")+")$")
	}
	if o.Bench != "" {
		args = append(args, "-test.bench="+o.Bench)
	}
	if o.Short {
		args = append(args, "-test.short")
	}
	if o.Verbose {
		args = append(args, "-test.v")
	}
	if o.Count > 0 {
		args = append(args, fmt.Sprintf("-test.count=%d", o.Count))
	}
	return append(args, o.Args...)
}

// Command returns the argument vector that runs a binary.
func (o Options) Command(b Binary) []string {
	return append([]string{b.Path}, o.arguments(b.Package)...)
}

// Streams tells whether results are worth showing as they come rather than only on failure.
func (o Options) Streams() bool { return o.Verbose || o.Bench != "" }

package doctor

import (
	"context"
	"fmt"
	"net/netip"
)

// Status says how bad a finding is.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Note    Status = "note"    // good to know; nothing is wrong
	Warning Status = "warning" // it works, and something will not
	Failure Status = "failure" // RDMA does not work, here or on this device
)

// A Finding is the outcome of one check.
type Finding struct {
	Check  string `json:"check"` // what was looked at: kernel, device, port, ...
	Status Status `json:"status"`
	Object string `json:"object,omitempty"`  // which device, port, file
	Text   string `json:"text"`              // what was found
	Do     string `json:"to_do,omitempty"`   // what to do; nothing if Status is OK
	Code   Code   `json:"problem,omitempty"` // what is wrong, for scripts
}

// Code names a problem for scripts. It does not change with the text.
type Code string

// Address is an address of this machine that can be used for RDMA.
type Address struct {
	Addr   netip.Addr `json:"address"`
	Netdev string     `json:"netdev"`
	Device string     `json:"device"`
}

// Report is what all checks have found.
type Report struct {
	Verdict   Status    `json:"verdict"` // OK, Warning or Failure
	Summary   string    `json:"summary"` // the verdict in a sentence
	NoDevice  bool      `json:"-"`       // there is no RDMA device at all
	Addresses []Address `json:"addresses"`
	Findings  []Finding `json:"findings"`
}

// exam is a run of the checks.
type exam struct {
	Host
	ctx     context.Context //nolint:containedctx // of one Examine
	report  Report
	netdevs []Netdev
	devices []*device
}

// Examine runs every check on a host, causes before what follows from them. ctx bounds the
// connection to itself.
func Examine(ctx context.Context, h Host) Report {
	x := &exam{Host: h, ctx: ctx}
	x.report.Findings, x.report.Addresses = []Finding{}, []Address{}
	x.checkDevices()
	x.checkKernel()
	x.checkModuleOrder()
	x.checkNodes()
	x.checkProviders()
	for _, d := range x.devices {
		x.checkNetdevs(d)
		x.checkPorts(d)
	}
	x.checkOtherNetdevs()
	x.checkMemlock()
	x.checkAddresses()
	x.judge()
	return x.report
}

func (x *exam) add(f Finding) { x.report.Findings = append(x.report.Findings, f) }

func (x *exam) ok(check, object, format string, args ...any) {
	x.add(Finding{Check: check, Status: OK, Object: object, Text: fmt.Sprintf(format, args...)})
}

// bad adds a finding that is not OK.
func (x *exam) bad(s Status, c Code, check, object, text, do string) {
	x.add(Finding{Check: check, Status: s, Object: object, Text: text, Do: do, Code: c})
}

// worst is the worst status of all findings.
func (x *exam) worst() Status {
	worst := OK
	for _, f := range x.report.Findings {
		switch {
		case f.Status == Failure:
			return Failure
		case f.Status == Warning:
			worst = Warning
		}
	}
	return worst
}

// partly are the problems of one device that do not keep others from being used, such as a
// port of a NIC that has two and one cable.
var partly = map[Code]bool{PortDown: true, NoSubnet: true, NoGID: true, OtherNetns: true, NoAddress: true}

// judge sums up.
func (x *exam) judge() {
	r := &x.report
	failures, warnings := 0, 0
	for i, f := range r.Findings {
		if partly[f.Code] && f.Status == Failure && len(r.Addresses) > 0 {
			r.Findings[i].Status = Warning
		}
	}
	for _, f := range r.Findings {
		switch f.Status {
		case Failure:
			failures++
		case Warning:
			warnings++
		default:
		}
	}
	r.Verdict, r.NoDevice = x.worst(), len(x.devices) == 0
	use := ""
	if len(r.Addresses) > 0 {
		use = fmt.Sprintf("; a server is started with: rping-demi -s -a %s", r.Addresses[0].Addr)
	}
	switch {
	case r.Verdict == OK:
		r.Summary = "RDMA works here" + use
	case r.Verdict == Warning:
		r.Summary = fmt.Sprintf("RDMA works here, with %s%s", count(warnings, "warning"), use)
	case len(r.Addresses) > 0:
		r.Summary = fmt.Sprintf("RDMA works on some addresses, with %s%s", count(failures, "failure"), use)
	default:
		r.Summary = "RDMA does not work here yet: begin with the first line that says FAIL"
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

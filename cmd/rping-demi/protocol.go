package main

import (
	"errors"

	"catmint/cmd/rping-demi/internal/rping"
)

// protocol is what two programs speak on a connection. It is a pflag.Value.
type protocol string

const (
	protocolAuto  protocol = "auto"  // a client's server decides, a server takes both
	protocolDemi  protocol = "demi"  // messages over libos sockets
	protocolRping protocol = "rping" // rdma-core's rping
)

// String implements pflag.Value.
func (p *protocol) String() string { return string(*p) }

// Type implements pflag.Value.
func (p *protocol) Type() string { return "string" }

// Set implements pflag.Value.
func (p *protocol) Set(s string) error {
	switch v := protocol(s); v {
	case protocolAuto, protocolDemi, protocolRping:
		*p = v
		return nil
	}
	return errors.New("want auto, demi or rping")
}

// suitsRping says whether rping's protocol can do what is asked for.
func (o *options) suitsRping() bool {
	if o.mode == modeRate || o.mode == modeBandwidth {
		return false
	}
	for _, n := range o.sweep {
		if !rpingSize(n) {
			return false
		}
	}
	return rpingSize(o.size)
}

// rpingSize says whether stock rping takes pings of n bytes.
func rpingSize(n int) bool { return n >= rping.MinSize && n <= rping.MaxSize }

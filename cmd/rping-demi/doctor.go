package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"catmint/cmd/rping-demi/internal/doctor"
	"catmint/libos"
	"catmint/rdma"
)

// selfConnectLimit bounds the connection of --doctor to itself.
const selfConnectLimit = 15 * time.Second

// errDoctor is a machine on which RDMA does not work; what is wrong has been printed.
var errDoctor = errors.New("RDMA does not work here")

// runDoctor examines the machine.
func runDoctor(stop context.Context, o options, cfg libos.Config, fabric rdma.Fabric, out io.Writer) error {
	cfg.MetricsAddr = "" // another program's, perhaps
	connect := func(ctx context.Context, addr netip.Addr) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, selfConnectLimit)
		defer cancel()
		t := &task{cfg: cfg, fabric: fabric, opts: o}
		return t.connectToSelf(ctx, addr)
	}
	return reportDoctor(doctor.Examine(stop, doctor.ThisHost(connect)), o, out)
}

func reportDoctor(r doctor.Report, o options, out io.Writer) error {
	if o.json {
		if err := r.PrintJSON(out); err != nil {
			return err
		}
	} else {
		r.Print(out)
	}
	switch {
	case r.Verdict != doctor.Failure:
		return nil
	case r.NoDevice:
		return fmt.Errorf("%w: %w", errDoctor, errNoDevice)
	}
	return errDoctor
}

// connectToSelf makes a connection between two sockets of this process and sends a message
// over it. It returns how long the connect took.
func (t *task) connectToSelf(ctx context.Context, addr netip.Addr) (took time.Duration, err error) {
	err = t.withEngine(func(e *libos.Engine) error {
		took, err = t.connectSockets(ctx, e, addr)
		return err
	})
	return took, err
}

func (t *task) connectSockets(ctx context.Context, e *libos.Engine, addr netip.Addr) (took time.Duration, err error) {
	var open []*socket
	defer func() {
		for _, s := range open { // a client before its listener
			if cerr := s.Close(); cerr != nil && err == nil {
				err = fmt.Errorf("close: %w", cerr)
			}
		}
	}()
	add := func(s *socket) { open = append([]*socket{s}, open...) }

	any := netip.AddrPortFrom(addr, 0)
	lis, err := newSocket(e, any)
	if err != nil {
		return 0, err
	}
	add(lis)
	if err := lis.Bind(any); err != nil {
		return 0, err
	}
	if err := lis.Listen(1); err != nil {
		return 0, fmt.Errorf("listen: %w", err)
	}
	accept, err := lis.Accept()
	if err != nil {
		return 0, fmt.Errorf("accept: %w", err)
	}
	lis.left = append(lis.left, accept)
	local, err := lis.GetSockName()
	if err != nil {
		return 0, err
	}
	client, err := newSocket(e, local)
	if err != nil {
		return 0, err
	}
	add(client)
	begin := time.Now()
	qt, err := client.Connect(local)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	if _, err := client.wait(ctx, qt); err != nil {
		if why := client.Err(); why != nil {
			err = why
		}
		return 0, err
	}
	took = time.Since(begin)
	lis.left = nil
	r, err := lis.wait(ctx, accept)
	if err != nil {
		return 0, fmt.Errorf("accept: %w", err)
	}
	accepted, err := e.Process().Socket(r.Accept().QD)
	if err != nil {
		return 0, err
	}
	server := &socket{Socket: accepted, engine: e}
	add(server)
	const message = "rping-demi --doctor"
	if err := client.Push(ctx, []byte(message)); err != nil {
		return 0, fmt.Errorf("push: %w", err)
	}
	got, err := server.Pop(ctx)
	if err != nil {
		return 0, fmt.Errorf("pop: %w", err)
	}
	return took, comparePayload([]byte(message), got)
}

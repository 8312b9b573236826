// Package libos is the control plane of Catmint: sockets, the set-up and tear-down of
// connections, options, configuration, and progress while the application computes.
//
// A Process has Engines; a Socket belongs to one. Calls that take time return a token at
// once; Engine.Wait and Engine.WaitAny redeem it:
//
//	p, err := libos.New(libos.DefaultConfig(), rdma.NewHardware())
//	e, err := p.NewEngine()
//	s, err := e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
//	qt, err := s.Connect(netip.MustParseAddrPort("192.0.2.1:7174"))
//	_, err = e.Wait(ctx, qt) // returns when the connection is established
//	qt, err = s.Push([]byte("hello"))
//	_, err = e.Wait(ctx, qt)
//	err = s.Close()
//
// What lives here: everything that happens once per connection or once per process. The
// rules of a connection's life are in package connfsm, pure; what two sides tell each
// other while they connect is in package hello; this package drives both against an
// rdma.Fabric; what is counted is served by package metrics. What must not: anything that happens once per message (package datapath),
// and calls into verbs or librdmacm (package rdma).
//
// One goroutine of an engine at a time, the one that has the loop's turn, makes every call on
// the ids of the engine's event channel and steps every state machine; everybody else sends
// functions. It is the loop's own goroutine, or one that would only wait for it. Nothing that
// may block runs on a turn: queue pairs and memory regions are made beside it. A second
// goroutine takes the data plane's notices, a third (the housekeeper) watches the
// completion channels. Every exported function may be called from any goroutine.
package libos

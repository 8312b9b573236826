// Package rdmanet gives Go programs net.Conn and net.Listener over RDMA: byte streams on the
// reliable-connected queue pairs of package libos, for anything that is written for a
// net.Conn, such as net/http:
//
//	l, err := rdmanet.Listen("rdma", "192.0.2.1:7174")
//	c, err := rdmanet.Dial("rdma", "192.0.2.1:7174")
//
// Both ends must be Catmint's. Boundaries of messages are not kept, as TCP does not keep
// them: a peer that speaks the Demikernel API sees each Write as one message or several, and
// its messages are read one after the other.
//
// What lives here: the meaning of a net.Conn (deadlines, streams, what Close ends) in terms
// of queue tokens. What must not: anything about connections or messages themselves
// (packages libos and datapath). Programs that want messages, or operations that overlap,
// use libos.
//
// Every exported function may be called from any goroutine.
package rdmanet

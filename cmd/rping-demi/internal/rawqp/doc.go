// Package rawqp is a queue pair with the completion queue, the completion channel and the
// registered memory that go with it, for protocols that post their own SENDs, READs and
// WRITEs on a connection that libos makes.
//
// What lives here: posting, polling, waiting in the netpoller, the order of destruction.
// What must not: any protocol, and connection management (package libos).
package rawqp

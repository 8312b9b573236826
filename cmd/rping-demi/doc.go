// Rping-demi checks an RDMA link: it connects to another rping-demi through libos, as
// any Demikernel program would, bounces messages, validates them and says what it saw.
//
// What lives here: the command line, the ping exchange, reports, timelines and statistics, and
// the hints that turn an error into the next thing to do (package doctor examines a machine). What must not: verbs and rdma_cm (package
// rdma), sockets and connection set-up (package libos).
package main

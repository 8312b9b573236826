// Package connfsm is the state machine of a connection and of a listener, as a pure
// function: (state, event) -> (state, actions).
//
// What lives here: the states, the events (of the connection manager, of timers, of the
// application, of the data plane), the table that says what each event does in each
// state, and the mapping of their failures to errnos. What must not: I/O, clocks,
// goroutines, cgo, and anything that knows of rdma, datapath or sockets. Package libos
// holds the driver that feeds events in and carries the actions out.
//
// The table (table.go) is meant to be read: what acts in each state, and once per event the
// states in which it may come late. The transcripts under testdata show what becomes of every
// event in every state.
//
// Rules that the driver keeps:
//
//   - Events of one connection are stepped one after another, never concurrently.
//   - Actions are carried out in order. When one fails, the rest of its list is dropped
//     and CallFailed is stepped with the errno.
//   - CreateQP is answered by QPReady or QPFailed, exactly once, and Attach by Attached
//     or CallFailed. Between CreateQP and its answer nothing is done with the id but to
//     resolve its route.
//   - StartTimer replaces a running timer of the same kind; StopTimer of one that does
//     not run does nothing.
package connfsm

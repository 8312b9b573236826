// Package conformance checks the C library as a C program sees it: its symbols, its headers,
// every call in every state of a socket, how programs that have loaded it end (signals, forks,
// exits and cancelled threads, with connections alive), what a panic inside it does to them, and
// that the calls of the data plane never enter Go.
//
// The cases themselves are C (suite/, programs/); the tests here build and run them. rows.txt
// lists the API's rows with the cases that hold the library to them. Tests
// with the tag rdma run on a Soft-RoCE host, with what `make build` left in build/. Nothing
// here looks into the library's Go packages.
package conformance

// Command libdemikernel is the C library libdemikernel.so.1: the Demikernel API of
// include/demi, built by scripts/build-lib.sh (go build -buildmode=c-shared).
//
// The exported demi_* symbols are C functions. Those of the data plane are in package
// datapath and never enter Go. The others are here: control.c and init.c check what can be
// checked in C and call the Go exports of export.go, whose private names (catmint_go_*) the
// version script libdemikernel.map hides with everything else.
//
// What lives here: translation between C and package libos, and the duties towards a
// program that knows nothing of Go: no panic reaches it (package guard), a forked child gets
// ENOSYS, and what was pushed is delivered when it returns from main. What must not: rules
// about sockets (package libos), and anything that happens once per message.
package main

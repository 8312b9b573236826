// Package instr counts instructions: what a 64 B message costs through the engine, over
// the same traffic on raw verbs, on the simulated fabric. Counts repeat exactly on one
// compiler, so that the test fails when a change makes messages dearer; docs/benchmarks.md
// tells what has been measured.
//
// What lives here: a C program with the engine and the simulated fabric linked in (in
// testdata, no Go), the test that runs it under callgrind, and the reader of callgrind's
// dumps. "make bench-instr" prints the figures. What must not: benchmarks of time.
package instr

// Package memory measures what connections cost in memory: what the engine takes from the heap
// and what it registers with the device, idle and with a grown window. The provider's own
// memory, the rings of queue pairs, is measured on Soft-RoCE by a test of package libos.
// docs/benchmarks.md tells what has been measured.
//
// What lives here: a C program with the engine and the simulated fabric linked in (in
// testdata, no Go) and the test that runs it and holds the figures to their bounds.
package memory
